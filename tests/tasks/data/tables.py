"""Tables with text columns and missing cells: four after the shape of well-known ones, and four odd ones."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

Generator = np.random.Generator


def choose(rng: Generator, values: list[Any], shares: list[float], rows: int) -> list[Any]:
    return [values[index] for index in rng.choice(len(values), rows, p=np.array(shares) / sum(shares))]


def numbers(rng: Generator, rows: int, missing: float, digits: int = 1) -> pl.Series:
    values = pl.Series(np.round(rng.lognormal(3, 0.5, rows), digits))
    return values.zip_with(pl.Series(rng.random(rows) >= missing), pl.Series([None], dtype=pl.Float64))


def titanic(rng: Generator, rows: int = 891) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "y": rng.integers(0, 2, rows),
            "pclass": rng.integers(1, 4, rows),
            "sex": choose(rng, ["male", "female"], [577, 314], rows),
            "age": numbers(rng, rows, 0.2, 0),
            "fare": numbers(rng, rows, 0, 4),
            "embarked": choose(rng, ["S", "C", "Q", None], [644, 168, 77, 100], rows),
            "deck": choose(rng, [None, "C", "B", "D", "E", "A", "F", "G"], [688, 59, 47, 33, 32, 15, 13, 4], rows),
        }
    )


def penguins(rng: Generator, rows: int = 344) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "species": choose(rng, ["Adelie", "Gentoo", "Chinstrap"], [152, 124, 68], rows),
            "island": choose(rng, ["Biscoe", "Dream", "Torgersen"], [168, 124, 52], rows),
            "bill_length_mm": numbers(rng, rows, 0.01),
            "bill_depth_mm": numbers(rng, rows, 0.01),
            "sex": choose(rng, ["Male", "Female", None], [168, 165, 30], rows),
            "y": rng.normal(4200, 800, rows).round(),
        }
    )


def tips(rng: Generator, rows: int = 244) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "total_bill": numbers(rng, rows, 0, 2),
            "y": numbers(rng, rows, 0, 2),
            "smoker": choose(rng, ["No", "Yes"], [151, 93], rows),
            "day": choose(rng, ["Sat", "Sun", "Thur", "Fri"], [87, 76, 62, 19], rows),
            "time": choose(rng, ["Dinner", "Lunch"], [176, 68], rows),
            "size": rng.integers(1, 7, rows),
        }
    )


def diamonds(rng: Generator, rows: int = 5000) -> pl.DataFrame:
    cuts = ["Ideal", "Premium", "Very Good", "Good", "Fair"]
    clarities = ["SI1", "VS2", "SI2", "VS1", "VVS2", "VVS1", "IF", "I1"]
    return pl.DataFrame(
        {
            "carat": numbers(rng, rows, 0, 2),
            "cut": choose(rng, cuts, [22, 14, 12, 5, 2], rows),
            "color": choose(rng, list("GEFHDIJ"), [11, 10, 9, 8, 7, 5, 3], rows),
            "clarity": choose(rng, clarities, [13, 12, 9, 8, 5, 4, 2, 1], rows),
            "depth": numbers(rng, rows, 0.03),
            "y": rng.integers(300, 19_000, rows),
        }
    )


def two_rows(_: Generator) -> pl.DataFrame:
    return pl.DataFrame({"y": [0, 1, 0, 1], "c": ["b", "a", "b", "é"], "x": [1.0, None, 3.0, 8.0]})


def many_categories(rng: Generator, rows: int = 4000) -> pl.DataFrame:
    """Many more categories than features; no two are equally frequent where the features end."""
    cities = [f"city {number}" for number in range(300)]
    shares = [800.0, 600, 400, *np.linspace(200, 100, 47), *np.geomspace(20, 1, 250)]
    table = {"y": rng.normal(size=rows), "city": choose(rng, [*cities, None], [*shares, 2000], rows)}
    return pl.DataFrame({**table, "only missing in it": [None, 1] * (rows // 2), "same": ["x"] * rows})


def odd_texts(rng: Generator, rows: int = 600) -> pl.DataFrame:
    texts = ["x=y", "a,b", '"', "line\nend", "日本", "😀", "_nan", "(other)", "(missing)"]
    return pl.DataFrame(
        {
            "a column, with a comma": choose(rng, texts, [9, 8, 7, 6, 5, 4, 3, 2, 1], rows),
            "": numbers(rng, rows, 0.5),
            "y": rng.integers(0, 2, rows),
        }
    )


def mostly_missing(rng: Generator, rows: int = 500) -> pl.DataFrame:
    rare = [None] * rows
    return pl.DataFrame(
        {
            "y": rng.integers(0, 2, rows),
            "rare": [*rare[:-40], *choose(rng, ["p", "q"], [3, 1], 40)][::-1],
            "number": numbers(rng, rows, 0.95),
            "negative": -numbers(rng, rows, 0.3, 3),
            "whole": rng.integers(-9, 9, rows),
        }
    )


TABLES: dict[str, Callable[[Generator], pl.DataFrame]] = {
    table.__name__: table  # type: ignore[attr-defined] # functions
    for table in (titanic, penguins, tips, diamonds, two_rows, many_categories, odd_texts, mostly_missing)
}
