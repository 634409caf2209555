"""The MQTT contract: every verdict is published in the agreed format."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linewatch.domain import Reason, Result, State, Verdict
from linewatch.mqtt.messages import (
    StateFacts,
    Topics,
    event_json,
    plc_line,
    reply_json,
    state_json,
    status_word,
    verdict_json,
    word_text,
)

FAIL = Verdict(
    station="station1",
    boot=41,
    seq=1023,
    trigger=17,
    part="A12345",
    product="bottle",
    product_index=3,
    model="7f3a91c2",
    result=Result.FAIL,
    reason=Reason.ABOVE_THRESHOLD,
    raw=2.31,
    threshold=2.0,
    captured_ms=1790000000123,
    age_ms=3,
    latency_ms=24,
    defects=1,
    box=(412, 80, 60, 44),
    image="2026-11-22/41-1023.png",
    heatmap="2026-11-22/41-1023.jpg",
)

any_text = st.text(st.characters(), max_size=600)  # Surrogates and control characters too.
counts = st.integers(min_value=0, max_value=2**40)
any_verdict = st.builds(
    Verdict,
    station=st.from_regex(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}\Z"),
    boot=st.integers(1, 999_999),
    seq=st.integers(1, 9_999_999_999),
    trigger=st.integers(0, 65_535),
    part=any_text,
    product=any_text,
    product_index=counts,
    model=any_text,
    result=st.sampled_from(Result),
    reason=st.sampled_from(Reason),
    raw=st.floats(),
    threshold=st.floats(),
    captured_ms=st.integers(0, 9_999_999_999_999),
    age_ms=counts,
    latency_ms=counts,
    late=st.booleans(),
    simulated=st.booleans(),
    defects=counts,
    box=st.tuples(counts, counts, counts, counts),
    region=st.text(max_size=32),
    region_index=st.integers(0, 16),
    image=st.sampled_from(["", "2026-11-22/99999-9999999999.png"]),
    heatmap=st.sampled_from(["", "2026-11-22/99999-9999999999.jpg"]),
)


def test_verdict_json_is_the_contracts_text() -> None:
    """Keys, order, compactness and 0/1 booleans are exactly the contract's."""
    assert verdict_json(FAIL, history=False) == (
        '{"v":1,"station":"station1","boot":41,"seq":1023,"trigger":17,"part":"A12345","product":"bottle",'
        '"product_index":3,"model":"7f3a91c2","result":"FAIL","code":2,"reason":10,"score":1155,"raw":2.31,'
        '"threshold":2.0,"captured_ms":1790000000123,"age_ms":3,"latency_ms":24,"late":0,"simulated":0,'
        '"history":0,"defects":1,"box":[412,80,60,44],"region":"","region_index":0,"image":"2026-11-22/41-1023.png",'
        '"heatmap":"2026-11-22/41-1023.jpg"}'
    )


@given(any_verdict, st.booleans())
def test_every_verdict_fits(verdict: Verdict, history: bool) -> None:
    """For any content the JSON has every key but an empty region in 500 bytes, the line 33 characters."""
    text = verdict_json(verdict, history=history)
    facts = json.loads(text)

    assert len(text.encode()) <= 500
    keys = list(json.loads(verdict_json(FAIL, history=False)))
    absent = set(keys) - set(facts)
    assert list(facts) == [key for key in keys if key not in absent]
    assert not absent or (absent == {"region", "region_index"} and not verdict.region)
    assert (facts["boot"], facts["seq"], facts["code"]) == (verdict.boot, verdict.seq, verdict.result.code)
    assert facts["history"] == int(history)
    line = plc_line(verdict)
    assert len(line) == len(line.encode("ascii")) == 33
    assert line.endswith(";#")
    assert line[17] == str(verdict.result.code)


def test_a_code_of_128_characters_stays_whole() -> None:
    """An empty region gives way to it in the verdict of a part whose images are not kept."""
    facts = json.loads(verdict_json(replace(FAIL, part="x" * 128, image="", heatmap=""), history=False))

    assert facts["part"] == "x" * 128
    assert "region" not in facts


def test_a_verdict_that_is_far_too_long_without_a_region_still_fits() -> None:
    """After the empty region the part is shortened, then the names; nothing else is missed."""
    verdict = replace(FAIL, part="x" * 400, product="ü" * 200, model="m" * 200)

    facts = json.loads(verdict_json(verdict, history=False))

    assert facts["seq"] == FAIL.seq and facts["result"] == "FAIL"


def test_a_long_part_is_shortened_before_paths() -> None:
    """Evidence paths, model and product survive a part name that is too long."""
    facts = json.loads(verdict_json(replace(FAIL, part="ü" * 400), history=False))

    assert 0 < len(facts["part"]) < 400
    assert (facts["image"], facts["model"], facts["product"]) == (FAIL.image, FAIL.model, FAIL.product)


def test_plc_line_is_the_contracts_line() -> None:
    """The line's fields have fixed positions."""
    assert plc_line(FAIL) == "00041;0000001023;2;10;003;00024;#"


def test_plc_line_wraps_counters_and_saturates_times() -> None:
    """Boot and seq keep their last digits; latency saturates at 99999."""
    verdict = replace(FAIL, boot=123_456, seq=12_345_678_901, latency_ms=1_000_000, product_index=1_000)

    assert plc_line(verdict) == "23456;2345678901;2;10;999;99999;#"


@pytest.mark.parametrize(
    ("raw", "threshold", "score"),
    [(2.0, 2.0, 1000), (2.0001, 2.0, 1001), (1.9999, 2.0, 1000), (0.0, 0.0, 0), (float("nan"), 2.0, 0)],
)
def test_score_above_1000_is_exactly_above_threshold(raw: float, threshold: float, score: int) -> None:
    """A consumer that compares `score > 1000` decides like the station did."""
    assert replace(FAIL, raw=raw, threshold=threshold).score == score


@pytest.mark.parametrize(
    ("facts", "bit"),
    [
        ({"online": True}, 0),
        ({"state": State.READY}, 1),
        ({"busy": True}, 2),
        ({"state": State.FAULT}, 3),
        ({"last_result": Result.PASS}, 5),
        ({"last_result": Result.FAIL}, 6),
        ({"last_result": Result.UNSURE}, 7),
        ({"last_result": Result.ERROR}, 7),
        ({"last_seq": 3}, 8),
        ({"state": State.CHANGEOVER}, 9),
        ({"selftest_passed": True}, 10),
        ({"heartbeat": 1}, 12),
        ({"heartbeat": 24}, 15),
    ],
)
def test_each_fact_has_its_bit(facts: dict[str, Any], bit: int) -> None:
    """One fact sets one bit of the status word and no other."""
    state = facts.pop("state", State.PAUSED)
    assert status_word(state, **{"online": False, **facts}) == 1 << bit


def test_degraded_is_still_ready() -> None:
    """DEGRADED judges: both bits are set."""
    assert status_word(State.DEGRADED, online=False) == 0b1_0010


def test_word_text_is_unsigned_decimal() -> None:
    """The largest word is five digits, never negative."""
    assert word_text(0xFFFF) == "65535"


def test_state_json_has_the_contracts_keys() -> None:
    """Flat, in order, with 0/1 for camera and disk and a bounded reason."""
    facts = StateFacts(station="s", boot=2, state=State.FAULT, reason="x" * 999, product="b", disk=False)

    assert state_json(facts) == (
        '{"v":1,"station":"s","boot":2,"state":"FAULT","reason":"' + "x" * 200 + '","product":"b",'
        '"product_index":0,"model":"","camera":0,"disk":0,"outbox":0,"last_seq":0,"uptime_s":0,"model_sha256":""}'
    )


def test_time_passing_is_no_change_of_state() -> None:
    """Counters are no change; every other field is."""
    facts = StateFacts(station="s", boot=2, state=State.READY)

    assert replace(facts, uptime_s=9, last_seq=7, outbox=3).change_key == facts.change_key
    assert replace(facts, camera=True).change_key != facts.change_key
    assert replace(facts, rebirths=1).change_key != facts.change_key


def test_reply_and_event_are_flat_json() -> None:
    """A reply is ok exactly when its code is 0; an event carries its facts as they are."""
    assert reply_json(17, code=0, ms=812) == '{"rid":17,"ok":1,"code":0,"reason":"","ms":812}'
    assert reply_json(1, code=2, reason="busy") == '{"rid":1,"ok":0,"code":2,"reason":"busy","ms":0}'
    assert event_json({"event": "x", "ok": True, "n": 2, "t": "\udcff"}) == (
        '{"event":"x","ok":1,"n":2,"t":"?"}'
    )


def test_no_text_makes_a_message_too_long_for_a_broker() -> None:
    """Long texts are cut at a whole character."""
    long = "ü" * 3000

    assert json.loads(event_json({"event": "x", "reason": long}))["reason"] == "ü" * 100
    assert json.loads(reply_json(1, code=4, reason=long))["reason"] == "ü" * 100


def test_commands_filter_excludes_replies() -> None:
    """`cmd/+` does not match `cmd/trigger/res`, so a station never receives its own replies."""
    assert Topics("linewatch/station1").commands == "linewatch/station1/cmd/+"
