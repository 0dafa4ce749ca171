"""Who is who: a list of the class, and the names and numbers that platforms write.

Two students of the same name stay two if a platform numbers them, or if the roster does.
"""

import csv
import io
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from grading import names
from grading.platforms import Seen

LARGEST = 10 * 2**20  # bytes
TITLES = {  # of columns, without spaces, hyphens and capitals
    "name": "name",
    "fullname": "name",
    "student": "name",
    "id": "id",
    "idnumber": "id",
    "studentid": "id",
    "email": "email",
    "emailaddress": "email",
}


class RosterError(Exception):
    """The roster cannot be used; the message says why."""


@dataclass(frozen=True)
class Person:
    """A row of the roster. `known_as` holds what the other columns say, and the address's user."""

    name: str
    id: str = ""
    email: str = ""
    known_as: tuple[str, ...] = ()


class Roster:
    """The people of a class.

    `names` gives each the name under which they are graded: that of the roster, with the number
    where two have the same.
    """

    def __init__(self, people: Iterable[Person] = ()) -> None:
        people = list(people)
        same = Counter(person.name for person in people)
        self.names = {
            person: person.name if same[person.name] == 1 else f"{person.name} ({person.id})"
            for person in people
        }
        self.people = {name: person for person, name in self.names.items()}
        self.by_word, self.by_name = defaultdict(set), defaultdict(set)
        for person in people:
            for word in {person.id, person.email, *person.known_as} - {""}:
                self.by_word[word.casefold()].add(person)
            for spelling in _spellings(person.name):
                self.by_name[spelling].add(person)

    def find(self, name: str, number: str = "") -> Person | None:
        """Who is called so, if it is one: by the number, the name, or a number in the name."""
        last, _, first = name.partition(", ")
        tries = [
            self.by_word[number.casefold()],
            self.by_name[_squashed(name)],
            self.by_name[_squashed(f"{first} {last}")],
            self.by_word[name.casefold()],
            *(self.by_word[word.casefold()] for word in name.split() if word.isdecimal()),
        ]
        return next((one for found in tries if len(found) == 1 for one in found), None)


def read(path: Path) -> Roster:
    """The roster in a CSV file: columns name, id, e-mail, and others with what they are called.

    Raises:
        RosterError: it is no such file.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise RosterError(f"{path} is larger than {LARGEST >> 20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RosterError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RosterError(f"{path} is not UTF-8: save it as CSV in UTF-8") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        raise RosterError(f"{path} is damaged: {error}") from error
    titles = [_title(cell) for cell in rows[0]] if rows else []
    if titles.count("name") != 1:
        raise RosterError(
            f"{path} has no column 'name': its first line should be 'name,id,e-mail', and each "
            "further line a student"
        )
    people = []
    for number, row in enumerate(rows[1:], 2):
        cells = [names.written(names.uncell(cell.strip())) for cell in row]
        if not any(cells):
            continue
        said = defaultdict(list)
        for title, cell in zip(titles, cells, strict=False):
            if cell:
                said[title].append(cell)
        if len(said["name"]) != 1:
            raise RosterError(f"{path}, line {number}: the name is missing")
        number, email = (" ".join(said[title][:1]) for title in ("id", "email"))
        others = (*said["other"], email.partition("@")[0])
        people.append(Person(said["name"][0], number, email, others))
    ids = defaultdict(list)
    for person in dict.fromkeys(people):
        ids[person.id.casefold()].append(person.name)
    for number, same in ids.items():
        if number and len(same) > 1:
            both = " and ".join(map(names.one_line, same[:2]))
            raise RosterError(f"{path} gives {both} the same id {names.one_line(number)}")
    if same := [person.name for person, count in Counter(people).items() if count > 1]:
        raise RosterError(f"{path} names {names.one_line(same[0])} twice: give each an id")
    return Roster(people)


def _title(cell: str) -> str:
    plain = "".join(c for c in cell.strip().casefold() if c.isalnum())
    return TITLES.get(plain, "other")


def _squashed(name: str) -> str:
    """Letters, marks and digits alone, as Canvas writes a name."""
    name = unicodedata.normalize("NFC", name).casefold()
    return "".join(c for c in name if unicodedata.category(c)[0] in "LMN")


def _spellings(name: str) -> set[str]:
    """A name in its order, and with the last of its words first: "Doe, Jane"."""
    words = name.replace(",", " ").split()
    turned = [words[at:] + words[:at] for at in range(len(words))]
    return {_squashed(" ".join(one)) for one in turned}


class People:
    """Gives each student one name.

    Args:
        roster: the class, if the teacher has a list.
        known: the names of students graded earlier, by the numbers that platforms gave them.
    """

    def __init__(self, roster: Roster, known: Mapping[str, str]) -> None:
        self.roster, self.known = roster, known

    def names(self, files: list[tuple[str, str, Seen]]) -> list[str]:
        """The student of each file, given the name that its path says, assignment, and path."""
        claims = defaultdict(set)  # by whom a name is claimed, where a platform has numbers
        for number, name in self.known.items():
            claims[scope(number), name].add(number)
        rows = []
        for called, assignment, seen in files:
            number = key(assignment, seen)
            rostered = self._rostered(called, seen)
            name = rostered or self.known.get(number, called)
            rows.append((number, name))
            if number:
                claims[scope(number), name].add(number)
                claims[scope(number), rostered or called].add(number)
        given = []
        for (_, _, seen), (number, name) in zip(files, rows, strict=True):
            if number in self.known and self.known[number].startswith(name):
                name = self.known[number]
            elif number and len(claims[scope(number), name]) > 1:
                name = f"{name} ({seen.id})"
            given.append(name)
        taken = {*given, *self.known.values()}
        return [
            name if seen.platform else self._first(name, taken)
            for name, (_, _, seen) in zip(given, files, strict=True)
        ]

    def _rostered(self, name: str, seen: Seen) -> str | None:
        person = self.roster.find(name, seen.id if seen.person else "")
        if not person and not seen.platform:
            person = self.roster.find(names.without_number(name))
        return self.roster.names[person] if person else None

    def _first(self, name: str, taken: set[str]) -> str:
        """The name without what makes it a further attempt, if that is somebody's."""
        shorter = names.without_number(name)
        return shorter if shorter in taken else name

    def remarks(self, students: Iterable[str]) -> list[str]:
        """A line on each who is not on the roster, and on each there who handed in nothing."""
        if not self.roster.people:
            return []
        students = set(students)
        return [
            f"{name}: not on the roster" for name in sorted(students - set(self.roster.people))
        ] + [
            f"{name}: on the roster, and handed in nothing this time"
            for name in sorted(set(self.roster.people) - students)
        ]


def key(assignment: str, seen: Seen) -> str:
    """The number that a platform gave, and what it holds for; "" if it gave none."""
    if not seen.id:
        return ""
    return f"{_where(assignment, seen)}={seen.id}"


def _where(assignment: str, seen: Seen) -> str:
    return seen.platform if seen.person else f"{seen.platform} {assignment}"


def scope(key: str) -> str:
    """What a number of `key` holds for."""
    return key.partition("=")[0]
