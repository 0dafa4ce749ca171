"""What passes between the grader and a submission's process: lines of JSON, and no pickle.

Numbers, strings, tensors, and lists, tuples, sets and dictionaries of these pass by value, and so
does what is one of these by another name, such as a named tuple. Anything else stays where it is
and passes as a number to call it by.
"""

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Set
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

DIMENSIONS = 32  # of a tensor, as many as NumPy allowed until version 2
BASES = {str: str.__str__, int: int.__int__, float: float.__float__}  # what subclasses pass as
DTYPES = {
    str(dtype): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.complex128,
        torch.complex64,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    )
}


def encode(value, keep: Callable[[object], dict]):
    """`value` for `json.dumps`. `keep` is given what cannot pass, and returns what stands for it.

    Tensors of other types than `DTYPES` pass as float64, NumPy's arrays as tensors.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return encode(float(value) if isinstance(value, np.longdouble) else value.item(), keep)
    for kind, as_kind in BASES.items():
        if isinstance(value, kind):
            return as_kind(value)
    if isinstance(value, list | range | Iterator):
        return [encode(item, keep) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, keep) for item in value]}
    if isinstance(value, Set):
        return {"set": [encode(item, keep) for item in value]}
    if isinstance(value, Mapping) and all(map(_passes_as_key, value)):
        return {"dict": [[encode(key, keep), encode(item, keep)] for key, item in value.items()]}
    if isinstance(value, Fraction):
        return {"fraction": [value.numerator, value.denominator]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
        value = torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta:
        value = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        value = value if str(value.dtype) in DTYPES else value.double()
        data = base64.b64encode(value.numpy().tobytes()).decode()
        return {"tensor": [str(value.dtype), list(value.shape), data]}
    return keep(value)


def _passes_as_key(key) -> bool:
    if isinstance(key, tuple):
        return all(map(_passes_as_key, key))
    return key is None or isinstance(key, str | int | float | Fraction)


def decode(item, find: Callable[[dict], object]):
    """What `encode` made `item` of; `find` is given what stands for something kept.

    Raises:
        ValueError: `encode` did not make this.
    """
    try:
        return _decode(item, find)
    except (TypeError, RuntimeError, ArithmeticError) as error:
        raise ValueError("nothing that was encoded") from error


def _decode(item, find: Callable[[dict], object]):
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, list):
        return [_decode(one, find) for one in item]
    match item:
        case {"tuple": list(items), **rest} if not rest:
            return tuple(_decode(one, find) for one in items)
        case {"set": list(items), **rest} if not rest:
            return {_decode(one, find) for one in items}
        case {"dict": list(pairs), **rest} if not rest:
            return {_key(_decode(key, find)): _decode(one, find) for key, one in pairs}
        case {"fraction": [int(numerator), int(denominator)], **rest} if not rest:
            return Fraction(numerator, denominator)
        case {"complex": [int() | float() as real, int() | float() as imaginary], **rest} if (
            not rest
        ):
            return complex(real, imaginary)
        case {"tensor": [str(dtype), list(shape), str(data)], **rest} if not rest:
            return _tensor(dtype, shape, data)
    return find(item)


def _key(key):
    if not _passes_as_key(key):
        raise ValueError("a key is neither a string nor a number")
    return key


def _tensor(dtype: str, shape: list, data: str) -> Tensor:
    if dtype not in DTYPES or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"no tensor of type {dtype}")
    buffer = bytearray(base64.b64decode(data, validate=True))
    if len(shape) > DIMENSIONS or math.prod(shape) * DTYPES[dtype].itemsize != len(buffer):
        raise ValueError("the tensor's shape is not that of its numbers")
    if not buffer:
        return torch.empty(shape, dtype=DTYPES[dtype])
    return torch.frombuffer(buffer, dtype=DTYPES[dtype]).reshape(shape)
