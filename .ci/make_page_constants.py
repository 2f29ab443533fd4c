"""Write assets/page/model/constants.js of the psychoscore that is imported: what the model in the page must know of the modules it follows.

Usage: python .ci/make_page_constants.py
"""
import json
from pathlib import Path

import numpy as np

import psychoscore
from psychoscore import candidates, decoding, descriptors, draft, musicxml, notes, planner, profile, request, tokens

CONSTANTS = Path(psychoscore.__file__).parent/"assets/page/model/constants.js"


def dials(point): return {d.name: getattr(point, d.name) for d in profile.DIMENSIONS}


def constants() -> dict:
    "Values by what they are called there, from the modules in the order in which they import each other."
    def of(module, *names): return {name: getattr(module, name) for name in names}
    made = of(notes, "PITCH_MIN", "PITCH_MAX", "TICKS_PER_QUARTER", "QPM", "MODES", "TONICS", "KEY_PROFILES")
    made["DESCRIPTORS"] = [d._asdict() for d in descriptors.DESCRIPTORS]
    made |= of(descriptors, "LONGEST_S", "LEAST_ROOM") | of(profile, "N_BINS")
    made["DIMENSIONS"] = [dict(name=d.name, low=d.low_label, high=d.high_label) for d in profile.DIMENSIONS]
    made["N_CIRCUMPLEX"] = len(profile.CIRCUMPLEX)
    made["ARCS"] = {name: [[share, dials(point)] for share, point in arc] for name, arc in profile.ARCS.items()}
    made |= of(tokens, "STEP_S", "SEGMENT_STEPS", "MAX_DURATION", "MAX_NOTES", "MAX_LEFT", "MAX_HELD", "VELOCITIES", "SOURCES", "PLAN", "CONDITIONS")
    made["FAMILIES"] = {name: len(values) for name, values in tokens.FAMILIES.items()}
    made["FIRST_PITCH"] = tokens.FAMILIES["PITCH"][0]
    made["RANGES"] = request._RANGES
    made |= of(request, "MAX_CANDIDATES") | of(planner, "BANDWIDTH", "CHANGE", "GIVEN", "SHARPER", "ALIKE")
    made["BY_DIALS"] = planner.Planner._field_defaults["by_dials"]
    made |= of(musicxml, "CUTS", "SPAN", "SIXTEENTH_S", "BAR", "NOMINAL")
    made["VALUES"] = [[length, [*places]] for length, places in musicxml.VALUES.items()] # whose order is the choice
    return made | of(candidates, "BY_GIVEN") | of(decoding, "MARGIN") | of(draft, "PLACE_OF_PLANS", "OTHER_FORM") | {"KEEP": request.Request.keep}


def script() -> str:
    "The constants as a module."
    def plain(value): return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    lines = [f"export const {name} = {json.dumps(value, default=plain)};" for name, value in constants().items()]
    return "\n".join(["// Made from the Python modules by `python .ci/make_page_constants.py`: edit them there.\n", *lines, ""])


if __name__ == "__main__": CONSTANTS.write_text(script())
