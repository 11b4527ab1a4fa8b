"""The signals hold what the truth says: beats, rhythms, pulses, persons, artefacts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import wfdb
import wfdb.processing

from ecgconsole.synth import rhythm
from ecgconsole.synth.rhythm import ATRIAL_BEAT, NORMAL_BEAT, VENTRICULAR_BEAT, Episode
from ecgconsole.synth.waveforms import LEADS, add_gaussians, draw_morphology, pulse_heights, render_ecg, slow_noise

FS = 125


def _beats(kind: str, duration_s: float = 1800.0, seed: int = 0, **changes: float):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    traits = replace(rhythm.draw_traits(kind, 60.0, rng), **changes)
    episodes = rhythm.draw_episodes(traits, duration_s, rng)
    return traits, episodes, rhythm.draw_beats(traits, episodes, rng)


@pytest.mark.parametrize("seed", range(8))
def test_fibrillation_is_irregular_and_sinus_is_not(seed: int) -> None:
    _, _, sinus = _beats("sinus", seed=seed, atrial_share=0.0, ventricular_share=0.0)
    _, _, af = _beats("persistent_af", seed=seed)
    windows = [np.diff(b.times_s)[: 40 * (len(b.times_s) // 41)].reshape(-1, 40) for b in (sinus, af)]
    cv = [np.median(w.std(axis=1) / w.mean(axis=1)) for w in windows]
    assert cv[0] < 0.08
    assert cv[1] > 0.13
    assert af.fibrillating.all()
    assert not sinus.fibrillating.any()
    # No memory from beat to beat in fibrillation.
    rr = np.diff(af.times_s)
    assert abs(np.corrcoef(rr[:-1], rr[1:])[0, 1]) < 0.1
    assert np.diff(af.times_s).min() >= 0.3


def test_a_ventricular_beat_is_early_and_its_pause_compensates() -> None:
    _, _, beats = _beats("ectopy", seed=3, ventricular_share=0.08, atrial_share=0.0)
    rr = np.diff(beats.times_s)
    v = np.flatnonzero(beats.kinds == VENTRICULAR_BEAT)
    v = v[(v > 2) & (v < len(rr) - 2)]
    v = v[(beats.kinds[v - 2] == NORMAL_BEAT) & (beats.kinds[v + 2] == NORMAL_BEAT)]
    assert len(v) > 30
    before, coupling, pause = rr[v - 2], rr[v - 1], rr[v]
    assert (coupling < 0.85 * before).all()
    assert np.median((coupling + pause) / before) == pytest.approx(2, abs=0.1)


def test_an_atrial_beat_is_early_and_its_pause_does_not_compensate() -> None:
    _, _, beats = _beats("sinus", seed=3, ventricular_share=0.0, atrial_share=0.06)
    rr = np.diff(beats.times_s)
    a = np.flatnonzero(beats.kinds == ATRIAL_BEAT)
    a = a[(a > 2) & (a < len(rr) - 1)]
    a = a[beats.kinds[a - 2] == NORMAL_BEAT]
    assert len(a) > 30
    sums = (rr[a - 1] + rr[a]) / rr[a - 2]
    assert 1.6 < np.median(sums) < 1.92


def test_breathing_modulates_sinus_rhythm_at_its_own_rate() -> None:
    traits, _, beats = _beats(
        "sinus", seed=1, respiratory_rr_s=0.04, slow_rr_s=0.0, atrial_share=0.0, ventricular_share=0.0
    )
    phase = rhythm.respiration_phase(traits, beats.times_s[1:])
    rr = np.diff(beats.times_s)
    rr = rr - np.convolve(rr, np.ones(25) / 25, mode="same")
    amplitude = 2 * abs(np.mean(rr[30:-30] * np.exp(-1j * phase[30:-30])))
    assert amplitude == pytest.approx(0.04, rel=0.2)


def test_paroxysms_come_and_go_and_the_episodes_have_no_holes() -> None:
    _, episodes, beats = _beats("paroxysmal_af", duration_s=3600.0, seed=2)
    assert {e.rhythm for e in episodes} == {"sinus", "atrial_fibrillation"}
    assert episodes[0].start_s == 0
    assert episodes[-1].end_s == 3600
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(episodes))
    for e in episodes:
        inside = (beats.times_s >= e.start_s) & (beats.times_s < e.end_s)
        assert (beats.fibrillating[inside] == (e.rhythm == "atrial_fibrillation")).all()
        # Every stretch has beats throughout.
        assert np.diff(np.concatenate(([e.start_s], beats.times_s[inside], [e.end_s]))).max() < 3.2


def test_bigeminy_is_every_second_beat() -> None:
    rng = np.random.default_rng(0)
    traits = rhythm.draw_traits("ectopy", 60.0, rng)
    beats = rhythm.draw_beats(traits, [Episode(0.0, 120.0, rhythm.BIGEMINY)], rng)
    assert set(beats.kinds[::2]) != set(beats.kinds[1::2])
    assert (beats.kinds == VENTRICULAR_BEAT).mean() == pytest.approx(0.5, abs=0.02)


def test_an_early_beat_ejects_less_and_a_pause_more() -> None:
    rr = np.array([0.3, 0.45, 0.8, 1.4])
    beats = rhythm.Beats(np.cumsum(rr), np.array([NORMAL_BEAT] * 4), np.zeros(4, bool))
    heights = pulse_heights(beats, rr)
    assert heights[0] < 0.35
    assert (np.diff(heights) > 0).all()
    early = rhythm.Beats(beats.times_s, np.array([VENTRICULAR_BEAT] * 4), beats.fibrillating)
    assert (pulse_heights(early, rr) < heights).all()


def test_gaussians_are_those_of_a_slow_sum() -> None:
    rng = np.random.default_rng(0)
    centres, amplitudes = rng.uniform(-0.5, 4.5, 12), rng.normal(size=12)
    sigmas = rng.uniform(0.01, 0.1, 12)
    fast = np.zeros(500, np.float32)
    add_gaussians(fast, centres, amplitudes, sigmas, FS)
    t = np.arange(500) / FS
    slow = sum(a * np.exp(-0.5 * ((t - c) / s) ** 2) for c, a, s in zip(centres, amplitudes, sigmas, strict=True))
    np.testing.assert_allclose(fast, slow, atol=1.5e-3)
    add_gaussians(fast, np.array([]), np.array([]), np.array([]), FS)
    add_gaussians(fast, np.array([99.0]), np.array([1.0]), np.array([0.1]), FS)
    np.testing.assert_allclose(fast, slow, atol=1.5e-3)


def test_slow_noise_is_slow() -> None:
    noise = slow_noise(20_000, FS, 1.0, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(len(noise), 1 / FS)
    assert power[frequency < 1.5].sum() > 0.98 * power.sum()
    assert 0.5 < noise.std() < 1.1


@cache
def _whole(record: Path) -> wfdb.Record:
    return wfdb.rdrecord(str(record))


def _signals(record: Path, names: tuple[str, ...]) -> np.ndarray | None:
    whole = _whole(record)
    found = [n for n in names if n in whole.sig_name]
    return whole.p_signal[:, whole.sig_name.index(found[0])] if found else None


def _clean(cohort, record_name: str, channel: str, times_s: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Those of ``times_s`` that lie in no artefact of the channel."""
    clean = np.ones(len(times_s), bool)
    for row in cohort.truth("artefacts"):
        if row["record"] == record_name and row["channel"] == channel:
            clean &= (times_s < float(row["start_seconds"]) - 1) | (times_s > float(row["end_seconds"]) + 1)
    return clean


def test_an_independent_detector_finds_the_beats_where_the_truth_has_them(cohort) -> None:
    found = total = false = detections = 0
    for record in cohort.record_paths[:16]:
        ecg = _signals(record, ("II",))
        if ecg is None:
            continue
        times = np.load(cohort.folder / "truth" / "beats" / f"{record.name}.npz")["r_times_s"]
        present = np.isfinite(ecg)
        # The longest stretch without a gap, as the detector knows none.
        edges = np.flatnonzero(np.diff(np.concatenate(([0], present, [0])).astype(int)))
        begin, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda x: x[1] - x[0])
        if end - begin < 60 * FS:
            continue
        detected = (wfdb.processing.xqrs_detect(ecg[begin:end], FS, verbose=False) + begin) / FS
        inside = (times > begin / FS + 2) & (times < end / FS - 2) & _clean(cohort, record.name, "II", times)
        distance = np.abs(times[inside][:, None] - detected[None]).min(axis=1)
        found += int((distance < 0.08).sum())
        total += int(inside.sum())
        kept = _clean(cohort, record.name, "II", detected) & (detected > begin / FS + 2) & (detected < end / FS - 2)
        false += int((np.abs(detected[kept][:, None] - times[None]).min(axis=1) > 0.08).sum())
        detections += int(kept.sum())
    assert total > 3000
    assert found / total > 0.985
    assert false / detections < 0.02


def test_pulses_peak_where_the_truth_has_them_and_their_heights_agree(cohort) -> None:
    checked, correlations = 0, []
    for record in cohort.record_paths:
        ppg = _signals(record, ("PLETH",))
        if ppg is None:
            continue
        truth = np.load(cohort.folder / "truth" / "beats" / f"{record.name}.npz")
        peaks, heights = truth["pulse_peak_times_s"], truth["pulse_heights"]
        apart = np.concatenate(([1.0], np.diff(peaks)))
        kept = (peaks > 2) & (peaks < len(ppg) / FS - 3) & _clean(cohort, record.name, "PLETH", peaks)
        around = ppg[np.rint(peaks[kept] * FS).astype(int)[:, None] + np.arange(-31, 32)]
        whole = np.isfinite(around).all(axis=1)
        around, height, apart = around[whole], heights[kept][whole], apart[kept][whole]
        large = (apart > 0.6) & (height > 0.6)
        if large.sum() < 50:
            continue
        offset = np.abs(around[large].argmax(axis=1) - 31)
        assert np.median(offset) <= 5, record.name  # 40 ms
        checked += len(offset)
        if height.std() > 0.1:
            rise = around[:, 28:35].max(axis=1) - around[:, :31].min(axis=1)
            correlations.append(np.corrcoef(rise, height)[0, 1])
    assert checked > 3000
    assert len(correlations) >= 4
    assert np.median(correlations) > 0.7


def _template(ecg: np.ndarray, times_s: np.ndarray) -> np.ndarray | None:
    at = np.rint(times_s * FS).astype(int)
    at = at[(at > 60) & (at < len(ecg) - 80)]
    beats = ecg[at[:, None] + np.arange(-45, 60)]
    beats = beats[np.isfinite(beats).all(axis=1)]
    if len(beats) < 40:
        return None
    template = np.median(beats, axis=0)
    return template - np.median(template)


def _normal_templates(cohort) -> dict[str, list[np.ndarray]]:  # type: ignore[no-untyped-def]
    """Median normal sinus beats of lead II by patient, of each half of each record."""
    out: dict[str, list[np.ndarray]] = {}
    for record in cohort.record_paths:
        ecg = _signals(record, ("II",))
        if ecg is None:
            continue
        truth = np.load(cohort.folder / "truth" / "beats" / f"{record.name}.npz")
        normal = (truth["kinds"] == NORMAL_BEAT) & ~truth["fibrillating"]
        times = truth["r_times_s"][normal]
        for half in np.array_split(times[_clean(cohort, record.name, "II", times)], 2):
            template = _template(ecg, half)
            if template is not None:
                out.setdefault(record.parent.name, []).append(template)
    return out


def test_persons_look_like_themselves_and_not_like_each_other(cohort) -> None:
    templates = {p: t for p, t in _normal_templates(cohort).items() if len(t) >= 2}
    assert len(templates) >= 12
    nearest_is_self = 0
    for person, own in templates.items():
        others = [np.linalg.norm(own[0] - t[1]) for other, t in templates.items() if other != person]
        nearest_is_self += np.linalg.norm(own[0] - own[1]) < min(others)
    assert nearest_is_self / len(templates) > 0.85


def test_p_waves_are_there_in_sinus_rhythm_and_gone_in_fibrillation() -> None:
    rng = np.random.default_rng(4)
    morphology = draw_morphology(60.0, rng)
    heights = {}
    for kind in ("sinus", "persistent_af"):
        traits, _, beats = _beats(kind, duration_s=200.0, seed=4, fibrillation_rr_s=0.9, sinus_rr_s=0.9)
        t = np.arange(200 * FS) / FS
        flat = np.zeros(len(t), np.float32)
        ecg = render_ecg(beats, beats.rr_before_s, morphology, "II", t, FS, flat, rng)
        template = _template(ecg, beats.times_s[beats.rr_before_s > 0.8])
        assert template is not None
        before_q = template[45 - 27 : 45 - 12]  # 216 to 96 ms before the R peak
        heights[kind] = before_q.max() - before_q.min()
        assert traits.kind == kind
    atrial_mv = morphology.atrial[0].amplitude_mv[LEADS.index("II")]
    assert heights["sinus"] > 0.6 * atrial_mv
    assert heights["persistent_af"] < 0.4 * heights["sinus"]


def test_artefacts_are_in_the_file_where_the_truth_has_them(cohort) -> None:
    seen: dict[str, int] = {}
    paths = {p.name: p for p in cohort.record_paths}
    rows = cohort.truth("artefacts")
    lost = [(r["record"], r["channel"], float(r["start_seconds"]), float(r["end_seconds"])) for r in rows]
    for row in rows:
        begin, end = float(row["start_seconds"]), float(row["end_seconds"])
        samples = _signals(paths[row["record"]], (row["channel"],))[int(begin * FS) + 1 : int(end * FS) - 1]
        overlapped = (
            sum(r == row["record"] and c == row["channel"] and a < end and b > begin for r, c, a, b in lost) > 1
        )
        if overlapped or len(samples) < 50:
            continue
        seen[row["kind"]] = seen.get(row["kind"], 0) + 1
        if row["kind"] in ("lead_off", "no_sample"):
            assert np.isnan(samples).all()
        elif row["kind"] in ("flat", "clipping"):
            # All one value; a saturating converter stores none at all.
            assert np.unique(samples[np.isfinite(samples)]).size <= 1
    assert {"lead_off", "flat", "motion", "muscle_noise"} <= set(seen)


def test_some_converters_lose_the_tips_of_the_qrs_and_no_more(cohort) -> None:
    saturating = []
    for record in cohort.record_paths:
        ecg = _signals(record, ("II",))
        if ecg is None:
            continue
        missing = np.isnan(ecg).astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], missing, [0]))))
        runs = edges[1::2] - edges[::2]
        if (runs <= 12).sum() > 100:
            recorded = len(ecg) - runs[runs > 25].sum()
            saturating.append(runs[runs <= 25].sum() / recorded)
    assert 1 <= len(saturating) <= 10
    assert all(0.002 < share < 0.04 for share in saturating), saturating
