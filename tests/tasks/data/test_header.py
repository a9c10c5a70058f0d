"""A first line that is data is refused, with names to paste; names that are numbers, dates or rare words are not."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets

from linear_learner.errors import DataError
from tasks.data.reader import TableFile
from tasks.parameters import Reading

RANDOM = np.random.default_rng(0)
SKLEARN = Path(sklearn.datasets.__file__).parent / "data"
HEADERLESS = {
    "iris": ["5.1,3.5,1.4,0.2,Iris-setosa", "4.9,3.0,1.4,0.2,Iris-setosa", "7.0,3.2,4.7,1.4,Iris-versicolor"],
    "wdbc": ["842302,M,17.99,10.38", "842517,M,20.57,17.77", "8510426,B,13.54,14.36", "857343,B,11.76,21.6"],
    "spambase": ["0,0.64,0.64,0,1", "0.21,0.28,0.5,0,1", "0.06,0,0.71,0,0"],
    "abalone": ["M,0.455,0.365,0.095,15", "M,0.35,0.265,0.09,7", "F,0.53,0.42,0.135,9", "I,0.33,0.255,0.08,7"],
    "ionosphere": ["1,0,0.99539,-0.05889,g", "1,0,1,-0.18829,b", "1,0,1,-0.03365,g"],
    "car": ["vhigh,vhigh,2,2,small,low,unacc", "vhigh,vhigh,2,more,small,med,acc", "vhigh,low,3,2,big,low,unacc"],
    "mushroom": ["p,x,s,n,t", "e,x,s,y,t", "e,b,s,w,t", "p,x,y,w,t", "e,x,s,g,f"],
    "adult": [
        "39, State-gov, 77516, Bachelors, 13, <=50K",
        "50, Self-emp-not-inc, 83311, Bachelors, 13, <=50K",
        "38, Private, 215646, HS-grad, 9, >50K",
    ],
    "horse-colic": ["2 1 530101 38.50 66 ? 3 ?  2", "1 1 534817 39.2  88 20 ? ?  3", "2 1 530334 38.30 40 24 1 1  4"],
    "breast-cancer": [
        "no-recurrence-events,30-39,premeno,0-2,no,3,left",
        "no-recurrence-events,40-49,premeno,0-2,no,2,right",
        "recurrence-events,40-49,premeno,3-5,no,2,left",
        "no-recurrence-events,60-69,ge40,0-2,no,2,right",
    ],
    "housing": [" 0.00632  18.00   2.310  0", " 0.02731   0.00   7.070  0", " 0.02729   0.00   7.070  0"],
    "decimal commas": ["5,1;3,5;a", "4,9;3,0;b", "7,0;3,2;b"],
    "a missing cell": ["5,,3", "1,2,2", "7,7,1"],
}


def names(tmp_path: Path, content: bytes | str, **reading: object) -> tuple[str, ...]:
    (tmp_path / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return TableFile(tmp_path / "t.csv", "t.csv", Reading.model_validate(reading)).names


@pytest.mark.parametrize("table", HEADERLESS)
def test_a_table_without_a_header_is_refused_and_read_with_the_names_of_the_message(table: str, tmp_path: Path) -> None:
    content = "\n".join([*HEADERLESS[table], ""])
    with pytest.raises(DataError, match=r"t\.csv: the first line looks like data, not like a header") as caught:
        names(tmp_path, content)
    option = str(caught.value).rsplit("--dataset.columns ", 1)[1]
    given = option.removesuffix(".").split(",")
    assert names(tmp_path, content, columns=given) == tuple(given)
    file = TableFile(tmp_path / "t.csv", "t.csv", Reading(columns=tuple(given)))
    assert sum(chunk.height for chunk in file.chunks(given)) == len(HEADERLESS[table])
    separator = next(separator for separator in (";", ",", " ") if separator in content)
    assert names(tmp_path, separator.join(given) + "\n" + content) == tuple(given)


@pytest.mark.parametrize(
    "header",
    ["0,1,2,3", "1,2,3,4", "2019,2020,2021,2022", "2022,2021,2020,2019", "400.0,402.5,405.0,407.5", "17,900,45,333",
     "red,green,blue,black", "2020-01-01,2020-02-01,2020-03-01,2020-04-01", ",0,1,2", "id,2019,2020,2021", "x1,x2,x3,y",
     "1,2,3,y", "20190101,20190201,20190301,20190401", "1.5,inf,-,y"],
)  # fmt: skip
def test_names_that_are_numbers_or_dates_are_a_header(header: str, tmp_path: Path) -> None:
    rows = pd.DataFrame(RANDOM.integers(0, 2, (50, 4)))
    assert len(names(tmp_path, header + "\n" + rows.to_csv(index=False, header=False))) == 4
    floats = pd.DataFrame(RANDOM.random((50, 4)))
    assert len(names(tmp_path, header + "\n" + floats.to_csv(index=False, header=False))) == 4


def test_wavelengths_are_a_header(tmp_path: Path) -> None:
    waves = np.cumsum(0.1 + RANDOM.random(100))
    spectra = pd.DataFrame(RANDOM.random((30, 100)), columns=[f"{wave:.3f}" for wave in waves])
    assert names(tmp_path, spectra.to_csv(index=False)) == tuple(spectra.columns)


@pytest.mark.parametrize(
    "lines",
    [
        ["color,size,y", "red,1,2", "color,2,3", "blue,3,4"],
        ["male,age", "male,5", "female,6", "male,7"],
        ["name,city", "Anna,Rome", "Jo,Paris", "Ray,Rome"],
        ["a,b", "1,x", "a,b", "2,y"],
        ["date,flag", "2020-01-01,True", "2020-01-02,False"],
    ],
)
def test_a_name_that_is_also_a_value_does_not_make_a_header_data(lines: list[str], tmp_path: Path) -> None:
    assert names(tmp_path, "\n".join(lines)) == tuple(lines[0].split(","))


@pytest.mark.parametrize("path", sorted(SKLEARN.glob("*.csv*")), ids=lambda path: path.name)
def test_tables_of_scikit_learn_are_read_with_their_header_and_refused_without(path: Path, tmp_path: Path) -> None:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:1].isalpha():
        assert all(name.isidentifier() for name in names(tmp_path, content))
    lines = content.splitlines(keepends=True)
    for body in (lines[1:], lines[2:]):  # two of the files have no header, others one with counts and classes
        with pytest.raises(DataError, match="the first line looks like data"):
            names(tmp_path, b"".join(body))


def test_repeated_numbers_are_no_names_even_if_no_row_follows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the first line looks like data"):
        names(tmp_path, "1,2,1\n")


def test_the_number_of_given_names_is_checked(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"t.csv has 3 columns, but dataset.columns has 1 name\. Give one name for each"
    ):
        names(tmp_path, "1,2,3\n4,5,6\n", columns=["a"])
    with pytest.raises(DataError, match=r"has these names in its first line. Leave dataset.columns empty"):
        names(tmp_path, "a,b\n1,2\n", columns=["a", "b"])
