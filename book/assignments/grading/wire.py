"""What passes between the grader and a submission's process: lines of JSON, and no pickle.

Numbers, strings, tensors, and lists, tuples and dictionaries of these pass by value. Anything else
stays where it is and passes as a number to call it by.
"""

import base64
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

DTYPES = {
    str(dtype): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.float16,
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
    if type(value) in (list, tuple, torch.Size):
        items = [encode(item, keep) for item in value]
        return items if type(value) is list else {"tuple": items}
    if type(value) in (dict, OrderedDict) and all(type(key) in (str, int) for key in value):
        return {"dict": [[key, encode(item, keep)] for key, item in value.items()]}
    if isinstance(value, np.generic):
        return encode(value.item(), keep)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        value = value if str(value.dtype) in DTYPES else value.double()
        data = base64.b64encode(value.numpy().tobytes()).decode()
        return {"tensor": [str(value.dtype), list(value.shape), data]}
    return keep(value)


def decode(item, find: Callable[[dict], object]):
    """What `encode` made `item` of; `find` is given what stands for something kept.

    Raises:
        ValueError: `encode` did not make this.
    """
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, list):
        return [decode(one, find) for one in item]
    match item:
        case {"tuple": list(items), **rest} if not rest:
            return tuple(decode(one, find) for one in items)
        case {"dict": list(pairs), **rest} if not rest:
            return {_key(key): decode(one, find) for key, one in pairs}
        case {"tensor": [str(dtype), list(shape), str(data)], **rest} if not rest:
            return _tensor(dtype, shape, data)
    return find(item)


def _key(key):
    if not isinstance(key, str | int):
        raise ValueError("a key is neither a string nor a number")
    return key


def _tensor(dtype: str, shape: list, data: str) -> Tensor:
    if dtype not in DTYPES or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"no tensor of type {dtype} and shape {shape}")
    buffer = bytearray(base64.b64decode(data, validate=True))
    if not buffer:
        return torch.empty(shape, dtype=DTYPES[dtype])
    return torch.frombuffer(buffer, dtype=DTYPES[dtype]).reshape(shape)
