"""What platforms hand over: whose a file is by its path, zips that are hostile, and rosters."""

import io
import os
import random
import stat
import time
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath

import pytest

pytest.importorskip("nbgrader")

from test_submissions import ASSIGNMENTS, Here, notebook

from grading import archives, platforms, roster
from grading.platforms import PATTERNS, Paths, Pattern, Seen, moment
from grading.roster import People, Person, Roster, RosterError
from grading.submissions import find

NAMES = ["07_sample", "02_residual_blocks"]  # of assignments
EXAMPLES = [(row, path) for row in PATTERNS for path in row.examples]


@pytest.mark.parametrize(("row", "path"), EXAMPLES, ids=[path for _, path in EXAMPLES])
def test_a_platforms_path_says_who_handed_in(row, path):
    name = PurePosixPath(path)
    says = replace(row.examples[path], person=row.person, times=row.times)
    assert Paths("in", [name], NAMES).seen == {name: says}
    exports = [PurePosixPath(f"down load.zip/{path}"), PurePosixPath("week 2/abel_1_2_a.ipynb")]
    assert Paths("in", exports, NAMES).seen[exports[0]] == says


def test_a_teacher_adds_a_platform(monkeypatch):
    """Blackboard's, of which the documentation says how its files are called."""
    row = Pattern(
        "Blackboard",
        r"[^/]+?_(?P<student>[^/_]+)_attempt_(?P<when>[\d-]+)_(?P<rest>.+)",
        {
            "Blocks_jdoe_attempt_2026-11-30-22-10-05_a.ipynb": Seen(
                "jdoe", "Blackboard", rest="a.ipynb"
            )
        },
    )
    monkeypatch.setattr(platforms, "PATTERNS", [*PATTERNS, row])
    test_a_platforms_path_says_who_handed_in(row, *row.examples)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Oct 5, 2024 1010 PM", datetime(2024, 10, 5, 22, 10)),
        ("Mar 2, 2026 954 AM", datetime(2026, 3, 2, 9, 54)),
        ("05 March 2026 110 PM", datetime(2026, 3, 5, 13, 10)),
        ("Oct 5, 2024 1205 AM", datetime(2024, 10, 5, 0, 5)),
        ("5 Okt. 2024 1010", None),
        ("Feb 31, 2024 1010 AM", None),
        ("Oct 2024 1010 PM", None),
    ],
)
def test_times_in_names(text, says):
    assert moment(text) == says


def zipped(files, *, links=()):
    """A zip, in bytes: a name and what is in it, or with a time."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            content, when = content if isinstance(content, tuple) else (content, (2026, 11, 1))
            member = zipfile.ZipInfo(name, (*when, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            if name in links:
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, content)
    return data.getvalue()


@pytest.fixture
def handed_over(tmp_path):
    """Writes a zip and finds what is in it: students, lines on what is left out, and remarks."""

    def students(files, name="export.zip", **options):
        path = tmp_path / name
        path.write_bytes(zipped(files) if isinstance(files, dict) else files)
        return found(path, **options)

    return students


def found(path, **options):
    submitted, left_out, remarks = find(path, ASSIGNMENTS, Here(), **options)
    return [one.student for one in submitted], left_out, remarks


BOOK = notebook()
OTHER = notebook(task="# Task 8.1\nx = 1")
EXPORTS = {
    "Moodle": (
        {
            "Zoë Müller_11_assignsubmission_file_/a.ipynb": BOOK,
            "Zoë Müller_11_assignsubmission_onlinetext_/onlinetext.html": "words",
            "李雷_12_assignsubmission_file_/deep/work.zip": zipped({"x/a.ipynb": BOOK}),
            "Essay Only_13_assignsubmission_file_/essay.docx": "words",
        },
        ["Zoë Müller", "李雷"],
        ["Essay Only_13_assignsubmission_file_/essay.docx: it is not a notebook: its name does not "
         "end in .ipynb"],
    ),
    "Canvas": (
        {
            "doejane_12345_678_a.ipynb": BOOK,
            "leeann_LATE_12346_679_a.ipynb": BOOK,
            "leeann_LATE_12346_680_a-1.ipynb": BOOK,
            "रामकुमार_12347_681_work.zip": zipped({"a.ipynb": BOOK}),
        },
        ["doejane", "leeann", "रामकुमार"],
        ["leeann_LATE_12346_679_a.ipynb: leeann handed in 07_sample again, in "
         "leeann_LATE_12346_680_a-1.ipynb, which was saved at the same time, comes last by its "
         "name and is graded"],
    ),
    "Brightspace": (
        {
            "index.html": "names",
            "12-99 - Jane Doe - Oct 5, 2026 1010 PM/a.ipynb": BOOK,
            "12-99 - Jane Doe - Oct 6, 2026 110 AM/a.ipynb": BOOK,
            "13-99 - Bo - Oct 5, 2026 910 AM/a.zip": zipped({"a.ipynb": BOOK}),
        },
        ["Bo", "Jane Doe"],
        ["index.html: it is not a notebook: its name does not end in .ipynb",
         "12-99 - Jane Doe - Oct 5, 2026 1010 PM/a.ipynb: Jane Doe handed in 07_sample again, in "
         "12-99 - Jane Doe - Oct 6, 2026 110 AM/a.ipynb, which is newer and is graded"],
    ),
    "Google Classroom": (
        {
            "Takeout/archive_browser.html": "",
            "Takeout/Drive/Classroom/ML/Blocks/Jane Doe - 07_sample.ipynb": BOOK,
            "Takeout/Drive/Classroom/ML/Blocks/Kopie von 07_sample Bo.ipynb": BOOK,
        },
        ["Bo", "Jane Doe"],
        ["Takeout/archive_browser.html: it is not a notebook: its name does not end in .ipynb"],
    ),
    "GitHub Classroom": (
        {
            "sample-submissions/sample-octo-cat/a.ipynb": BOOK,
            "sample-submissions/sample-octo-cat/README.md": "words",
            "sample-submissions/sample-octo-cat/.git/objects/ab/cd": "blob",
            "sample-submissions/sample-hub-ot/src/a.ipynb": BOOK,
        },
        ["hub-ot", "octo-cat"],
        [],
    ),
    "GitHub Classroom, zips": (
        {
            f"07-sample-{name}-main.zip": zipped({f"07-sample-{name}-main/a.ipynb": BOOK})
            for name in ("octo-cat", "hubot")
        },
        ["hubot", "octo-cat"],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("platform", EXPORTS)
def test_the_zip_of_a_platform_is_read(handed_over, tmp_path, platform):
    files, students, left_out = EXPORTS[platform]
    got, lines, remarks = handed_over(files)
    assert got == students and lines == left_out
    assert remarks[0].startswith(f"Named as {platform.partition(',')[0]} names them: ")
    assert remarks[1:] == (
        ["leeann, 07_sample: Canvas marks it as late"] if platform == "Canvas" else []
    )
    # The same unpacked, and within another folder with a second export.
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        archive.extractall(tmp_path / "in" / "week 1")
    assert found(tmp_path / "in" / "week 1")[0] == students
    (tmp_path / "in" / "week 2.zip").write_bytes(zipped({"abel_1_2_a.ipynb": OTHER}))
    assert sorted(found(tmp_path / "in")[0]) == sorted([*students, "abel"])


def test_a_zip_of_a_folder_for_each_student_is_read(handed_over):
    files = {"Ann/a.ipynb": BOOK, "Bo.ipynb": BOOK, "Cy.zip": zipped({"a.ipynb": BOOK})}
    assert handed_over(files)[0] == ["Ann", "Bo", "Cy"]
    packed = {f"week 1/{name}": content for name, content in files.items()}
    assert handed_over(packed, "week 1.zip")[0] == ["Ann", "Bo", "Cy"]


def test_zips_of_students_that_lie_in_a_folder(tmp_path):
    for name in ("Ann", "Bo (2)"):
        (tmp_path / f"{name}.zip").write_bytes(zipped({"x/a.ipynb": BOOK}))
    assert found(tmp_path) == (["Ann", "Bo"], [], [])


FORGED = {"bo_1_999_a.ipynb": OTHER, "Bo_2_assignsubmission_file_/a.ipynb": OTHER}


def test_what_a_student_hands_in_is_nobody_elses_whatever_its_name(handed_over, tmp_path):
    honest = {"bo_1_5_a.ipynb": BOOK}
    for content in (zipped(FORGED), zipped({"deep.zip": zipped(FORGED)})):
        got, _, _ = handed_over(honest | {"mallory_2_6_a.zip": content})
        assert got == ["bo", "mallory"]
    files = {f"Mallory_3_assignsubmission_file_/{name}": text for name, text in FORGED.items()}
    assert set(handed_over(files)[0]) == {"Mallory"}
    # A zip beside those of others, who are graded as if it were not there.
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "Bo.ipynb").write_text(BOOK)
    (folder / "Ann.zip").write_bytes(zipped({"a.ipynb": BOOK}))
    (folder / "Mallory.zip").write_bytes(zipped(FORGED))
    for others in (["Ann", "Bo"], ["Bo"], ["Ann"]):
        got, lines, _ = found(folder)
        assert got == others
        assert len(lines) == 1
        assert lines[0].startswith("Mallory.zip: it looks like what Canvas hands")
        if len(others) == 2:
            (folder / "Ann.zip").unlink()
        elif others == ["Bo"]:
            (folder / "Ann.zip").write_bytes(zipped({"a.ipynb": BOOK}))
            (folder / "Bo.ipynb").unlink()
    # A folder of a student holds that student's files.
    nested_in = folder / "Bo" / "Classroom" / "x" / "y"
    nested_in.mkdir(parents=True)
    (nested_in / "Zoe - a.ipynb").write_text(BOOK)
    assert found(folder)[0] == ["Ann", "Bo"]


def damaged():
    whole = bytearray(zipped({"a.ipynb": BOOK * 100}))
    whole[60:200] = random.Random(1).randbytes(140)
    return bytes(whole)


def encrypted():
    whole = bytearray(zipped({"a.ipynb": BOOK}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(mark) + at] |= 1
    return bytes(whole)


def nested(depth):
    content = zipped({"a.ipynb": BOOK})
    for _ in range(depth):
        content = zipped({"in.zip": content})
    return content


def declaring(size, count=1):
    """A zip with files that are said to be larger than they are."""
    whole = bytearray(zipped({f"{n}.ipynb": BOOK for n in range(count)}))
    at = -1
    while (at := whole.find(b"PK\x01\x02", at + 1)) >= 0:
        whole[at + 24 : at + 28] = size.to_bytes(4, "little")
    return bytes(whole)


HOSTILE = {
    "leads out": (lambda: zipped({"../bo_1_5_a.ipynb": OTHER}), "its name leads out of the zip"),
    "absolute": (lambda: zipped({"/bo_1_5_a.ipynb": OTHER}), "its name leads out of the zip"),
    "backslashes": (lambda: zipped({"..\\..\\a.ipynb": OTHER}), "its name leads out of the zip"),
    "link": (lambda: zipped({"a.ipynb": "/etc/passwd"}, links=["a.ipynb"]), "it is a link"),
    "link to a zip": (lambda: zipped({"a.zip": "../b.zip"}, links=["a.zip"]), "it is a link"),
    "no zip": (lambda: b"PK words", "it is damaged: it is no zip"),
    "empty": (lambda: b"", "it is damaged: it is no zip"),
    "damaged": (damaged, "damaged"),
    "password": (encrypted, "it is protected by a password"),
    "bomb": (lambda: declaring(60 * 2**20), "it is larger than 50 MiB"),
    "big": (lambda: declaring(45 * 2**20, 5), "it holds too much"),
    "many": (lambda: zipped({f"{n}.ipynb": "" for n in range(200)}), "it holds too much"),
    "many zips": (lambda: zipped({f"{n}.zip": nested(0) for n in range(99)}), "it holds too much"),
    "many files": (lambda: zipped({f"{n}": "" for n in range(301)}), "it holds 301 files"),
    "deep": (lambda: nested(5), "it is a zip within 4 others"),
    "long name": (lambda: zipped({"1-1 - " + " - x" * 400 + ".ipynb": BOOK}), "1,000 characters"),
}


READ_IN_PART = ["big", "many zips"]


@pytest.mark.parametrize("trick", HOSTILE)
def test_a_hostile_zip_has_a_line_and_its_neighbors_are_found(
    handed_over, tmp_path, monkeypatch, trick
):
    monkeypatch.setattr(archives, "LISTED", 300)
    content, says = HOSTILE[trick]
    files = {"ann_1_5_a.ipynb": BOOK, "mallory_2_6_a.zip": content(), "zoe_3_7_a.ipynb": BOOK}
    started = time.monotonic()
    got, lines, _ = handed_over(files)
    assert got == (["ann", "mallory", "zoe"] if trick in READ_IN_PART else ["ann", "zoe"])
    assert any("mallory_2_6_a.zip" in line and says in line for line in lines)
    assert max(map(len, lines)) < 1500 and len(lines) < 110
    assert time.monotonic() - started < 60
    assert [path.name for path in tmp_path.iterdir()] == ["export.zip"]
    archives.forget()


def test_a_damaged_export_and_an_empty_one_are_told_in_words(handed_over):
    assert handed_over(b"PK words")[1][0].endswith("it is damaged: it is no zip (File is not a zip "
                                                   "file)")  # fmt: skip
    with pytest.raises(FileNotFoundError, match="nothing lies in"):
        handed_over({})


def test_whatever_the_bytes_of_a_zip_its_neighbors_are_found(handed_over):
    whole, draw = zipped({"a.ipynb": BOOK, "b.zip": zipped({"c.ipynb": OTHER})}), random.Random(0)
    files = {"ann_1_5_a.ipynb": BOOK}
    for number in range(100):
        broken = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            broken[draw.randrange(len(whole))] = draw.randrange(256)
        files[f"mallory_2_{number}_a.zip"] = bytes(broken[: draw.randint(1, 2 * len(whole))])
    got, _, _ = handed_over(files)
    assert got[0] == "ann" and set(got) <= {"ann", "mallory"}


def test_hidden_files_of_a_zip_are_skipped(handed_over):
    files = {"__MACOSX/._a.ipynb": "fork", ".git/config": "x", "Ann/.ipynb_checkpoints/a.ipynb": ""}
    assert handed_over(files | {"Ann/a.ipynb": BOOK}) == (["Ann"], [], [])


@pytest.mark.parametrize("written", ["Zoë".encode(), "Zoë".encode("cp437")])
def test_names_in_a_zip_are_read_that_does_not_say_how_they_are_written(handed_over, written):
    """macOS writes UTF-8, and DOS its own letters."""
    files = {"Zo_%_11_assignsubmission_file_/a.ipynb": BOOK}
    content = zipped(files).replace(b"Zo_%"[: len(written)].ljust(len(written), b"%"), written)
    got, _, _ = handed_over(content)
    assert got == ["Zoë"] if len(written) == 4 else got == ["Zoë%"]


COPIES = [
    "Copy of Ann",
    "Kopie von Ann",
    "Copie de Ann",
    "Ann (1)",
    "Ann-2",
    "Ann_LATE",
    "Ann - Copy",
]


@pytest.mark.parametrize("copy", [*COPIES, "Ann's", "Anna", "LATEEF Ann"])
def test_a_copy_is_no_new_person(tmp_path, copy):
    for number, name in enumerate(["Ann", copy]):
        (tmp_path / f"{name}.ipynb").write_text(BOOK)
        os.utime(tmp_path / f"{name}.ipynb", (1e9 + 3600 * number,) * 2)
    got, lines, _ = found(tmp_path)
    if copy in COPIES:
        assert got == ["Ann"]
        again = f"Ann handed in 07_sample again, in {copy}.ipynb, which is newer and is graded"
        assert lines == [f"Ann.ipynb: {again}"]
    else:
        assert got == sorted(["Ann", copy]) and not lines


def test_a_number_is_part_of_the_name_if_nobody_is_called_so_without_it(tmp_path):
    for name in ("Team-1", "Team-2", "Group 3"):
        (tmp_path / f"{name}.ipynb").write_text(BOOK)
    assert found(tmp_path)[0] == ["Group 3", "Team-1", "Team-2"]


def test_two_students_of_one_name_are_two_each_time(handed_over):
    files = {
        f"Ann Lee_{n}_assignsubmission_file_/a.ipynb": book
        for n, book in ((11, BOOK), (12, BOOK), (51, OTHER))
    }
    assert handed_over(files)[0] == ["Ann Lee (11)", "Ann Lee (12)", "Ann Lee"]
    known = {"Moodle 07_sample=11": "Ann Lee"}
    assert handed_over(files, people=People(Roster(), known))[0][:2] == ["Ann Lee", "Ann Lee (12)"]
    known = {"Moodle 07_sample=11": "Ann Lee (11)", "Moodle 07_sample=12": "Ann Lee (12)"}
    first = dict(list(files.items())[:1])
    assert handed_over(first, people=People(Roster(), known))[0] == ["Ann Lee (11)"]
    files = {
        "doejane_1_5_a.ipynb": BOOK,
        "doejane_1_6_a.ipynb": OTHER,
        "doejane_2_7_a.ipynb": OTHER,
    }
    known = {"Canvas=1": "doejane"}
    got, _, _ = handed_over(files, people=People(Roster(), known))
    assert got == ["doejane", "doejane", "doejane (2)"]


JANE = Person("Jane Q. Doe", "s17", "jane@uni.edu", ("octo-cat", "jane"))
LI = Person("李雷", "23304308", "li@uni.edu", ("li",))
ANNS = [Person("Ann Lee", "a1"), Person("Ann Lee", "a2")]
CLASS = Roster([JANE, LI, *ANNS, Person("Doe", "s99")])


@pytest.mark.parametrize(
    ("name", "number", "who"),
    [
        ("Jane Q. Doe", "", JANE),
        ("jane q doe", "", JANE),
        ("Doe, Jane Q.", "", JANE),
        ("doejaneq", "", JANE),
        ("S17", "", JANE),
        ("jane@uni.edu", "", JANE),
        ("octo-cat", "", JANE),
        ("somebody", "s17", JANE),
        ("23304308 Li", "", LI),
        ("Ann Lee", "", None),
        ("a2", "", ANNS[1]),
        ("Jane Smith", "", None),
        ("janedoe", "", None),
        ("", "", None),
    ],
)
def test_a_roster_says_who_is_who(name, number, who):
    assert CLASS.find(name, number) == who


def test_students_are_graded_under_the_rosters_names_and_the_others_are_listed(handed_over):
    people = People(CLASS, {})
    files = {
        "doejaneq_1_5_a.ipynb": BOOK,
        "leeann_2_6_a.ipynb": BOOK,
        "stranger_LATE_3_7_a.ipynb": BOOK,
    }
    got, _, _ = handed_over(files, people=people)
    assert got == ["Jane Q. Doe", "leeann", "stranger"]
    assert people.remarks(got) == [
        "leeann: not on the roster",
        "stranger: not on the roster",
        "Ann Lee (a1): on the roster, and handed in nothing this time",
        "Ann Lee (a2): on the roster, and handed in nothing this time",
        "Doe: on the roster, and handed in nothing this time",
        "李雷: on the roster, and handed in nothing this time",
    ]
    # One name of the roster, and two whom the platform knows to be two.
    files = {f"李雷_{n}_assignsubmission_file_/a.ipynb": BOOK for n in (11, 12)}
    assert handed_over(files, people=people)[0] == ["李雷 (11)", "李雷 (12)"]
    # By e-mail, by GitHub's name, and a copy: one student's attempts.
    files = {"jane@uni.edu/a.ipynb": BOOK, "octo-cat-2.ipynb": BOOK, "Doe, Jane Q..ipynb": BOOK}
    assert handed_over(files, people=people)[0] == ["Jane Q. Doe"]


@pytest.mark.parametrize(
    "text",
    [
        "name,id,e-mail,GitHub\nJane Q. Doe,s17,jane@uni.edu,octo-cat\n\n'=1+1,s18,,\n",
        "\ufeffE-Mail;Full name;ID number;Login\n"
        "jane@uni.edu;Jane Q. Doe;s17;octo-cat\n;=1+1;s18;\n",
    ],
)
def test_a_roster_is_read(tmp_path, text):
    (tmp_path / "roster.csv").write_text(text, encoding="utf-8")
    people = roster.read(tmp_path / "roster.csv").people
    assert people["Jane Q. Doe"] == JANE
    assert people["=1+1"].id == "s18" and len(people) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "has no column 'name'"),
        (b"who,id\nAnn,1\n", "has no column 'name'"),
        ("name\nZoë".encode("latin1"), "is not UTF-8: save it as CSV in UTF-8"),
        (b"name,id\n,5\n", "line 2: the name is missing"),
        (b"name,id\nAnn,\nAnn,\n", "names Ann twice: give each an id"),
        (b"name,id\nAnn,1\nBo,1\n", "gives Ann and Bo the same id 1"),
        (b'name\n"' + b"x" * 200_000, "is damaged"),
    ],
)
def test_a_roster_that_cannot_be_used_is_told_in_words(tmp_path, content, says):
    if content is not None:
        (tmp_path / "roster.csv").write_bytes(content)
    with pytest.raises(RosterError) as raised:
        roster.read(tmp_path / "roster.csv")
    assert says in f"{raised.value}" and "roster.csv" in f"{raised.value}"


def test_the_last_attempt_before_a_date_counts(handed_over):
    files = {
        f"12-99 - Jane Doe - Oct {day}, 2026 {hour}/a.ipynb": BOOK
        for day, hour in ((5, "1010 PM"), (6, "110 AM"), (7, "900 AM"))
    }
    before = datetime(2026, 10, 6, 2)
    path = handed_over(files, before=before)
    submitted, lines, _ = path
    assert submitted == ["Jane Doe"]
    assert lines == [
        "12-99 - Jane Doe - Oct 7, 2026 900 AM/a.ipynb: it was saved at 2026-10-07 09:00, after "
        "2026-10-06 02:00, and does not count",
        "12-99 - Jane Doe - Oct 5, 2026 1010 PM/a.ipynb: Jane Doe handed in 07_sample again, in "
        "12-99 - Jane Doe - Oct 6, 2026 110 AM/a.ipynb, which is newer and is graded",
    ]
    got, lines, _ = handed_over(files, before=datetime(2026, 1, 1))
    assert not got and len(lines) == 3
    # The times of other files are those of the members.
    files = {"Ann/a.ipynb": (BOOK, (2026, 10, 5)), "Bo/a.ipynb": (BOOK, (2026, 10, 7))}
    assert handed_over(files, before=before)[0] == ["Ann"]


def test_where_the_platform_says_no_time_the_attempt_counts_and_the_report_says_so(handed_over):
    files = {"doejane_1_5_a.ipynb": (BOOK, (2026, 12, 24))}
    got, lines, remarks = handed_over(files, before=datetime(2026, 10, 6))
    assert got == ["doejane"] and not lines
    assert remarks[1].startswith("Graded, although their platform does not say when")
