"""Why something was left out: the one table of rejection reasons, with stable numbers."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """A reason, its number (stored in files, so never reused), label, unit and description.

    ``unit`` is the smallest thing that is lost: ``window``, ``segment``, ``record``, ``patient`` or
    ``file`` (a file or line that is reported while everything else goes on). No reason is computed
    from heart beats: filtering on rhythm would remove what the dataset is for.
    """

    label: str
    unit: str
    description: str

    def __new__(cls, number: int, label: str = "", unit: str = "", description: str = "") -> Reason:
        member = int.__new__(cls, number)
        member._value_ = number
        member.label = label
        member.unit = unit
        member.description = description
        return member

    KEPT = (0, "kept", "window", "nothing wrong")

    # Windows: found by headers.
    NO_CHANNEL = (1, "no-channel", "window", "no wanted channel is recorded here")
    GAP = (2, "gap", "window", "the window touches a gap, a channel's border or the record's end")

    # Windows: found in the samples.
    MISSING_SAMPLES = (10, "missing-samples", "window", "a run of missing samples above 0.2 s, or above 5 % in all")
    DISCONNECTED = (11, "disconnected", "window", "constant for half of the window or longer: lead or probe off")
    CLIPPING = (12, "clipping", "window", "a tenth of the samples or more lie in plateaus at the recording's limits")
    NOISE = (13, "noise", "window", "power above the signal's own frequencies dominates")
    NO_PULSE = (14, "no-pulse", "window", "no pulsation: the PPG is not present; rejects only without a usable ECG")

    # Segments: found by headers or while decoding.
    SEGMENT_HEADER_MISSING = (30, "segment-header-missing", "segment", "the segment's header file does not exist")
    SEGMENT_LENGTH_DIFFERS = (31, "segment-length-differs", "segment", "header and master header disagree on length")
    SEGMENT_RATE_DIFFERS = (32, "segment-rate-differs", "segment", "header and master header disagree on rate")
    NESTED_SEGMENTS = (33, "nested-segments", "segment", "the segment is itself a multi-segment record")
    SELF_REFERENCE = (34, "self-reference", "segment", "the record names itself as its segment")
    DAT_MISSING = (35, "dat-missing", "segment", "the signal file does not exist")
    DAT_TRUNCATED = (36, "dat-truncated", "segment", "the signal file is shorter than its header says")
    UNKNOWN_FORMAT = (37, "unknown-format", "segment", "the storage format is not a WFDB format")
    UNVERIFIED_FORMAT = (38, "unverified-format", "segment", "formats 8, 310, 311 without a checksum that agrees")
    CHECKSUM = (39, "checksum", "segment", "the samples do not add up to the header's checksum")
    UNREADABLE = (40, "unreadable", "segment", "the file may not or cannot be read, or its decoder failed")

    # Headers: of a segment, or of the whole record.
    HEADER_MISSING = (50, "header-missing", "record", "the record's header file does not exist")
    HEADER_EMPTY = (51, "header-empty", "record", "the header holds no record line")
    HEADER_JUNK = (52, "header-junk", "record", "the header is not a WFDB header")
    SIGNAL_LINES_MISSING = (53, "signal-lines-missing", "record", "fewer signal lines than the header declares")
    SAMPLING_RATE_ZERO = (54, "sampling-rate-zero", "record", "the sampling rate is zero or negative")
    ABSURD_LENGTH = (55, "absurd-length", "record", "the declared length is impossible")
    UNSAFE_NAME = (56, "unsafe-name", "record", "a name in the header is not a bare relative file name")

    # Reported, nothing lost.
    SEGMENT_COUNT_DIFFERS = (70, "segment-count-differs", "file", "segment lines and declared segment count differ")
    LENGTH_DIFFERS = (71, "length-differs", "file", "the segments do not add up to the record's declared length")
    DATE_MALFORMED = (72, "date-malformed", "file", "date or time unreadable: the time is unknown")
    UNCALIBRATED = (73, "uncalibrated", "file", "gain 0: samples are scaled by 200 units/mV, and flagged")

    # Patients.
    TOO_FEW_SEGMENTS = (90, "too-few-segments", "patient", "fewer usable segments than min_segments_per_patient")
    BEYOND_MAXIMUM = (91, "beyond-maximum", "patient", "not selected: the patient has max_segments_per_patient")
    NOT_A_WAVEFORM = (92, "not-a-waveform", "record", "a numerics record: no signal is sampled fast enough")
    WORKER_DIED = (93, "worker-died", "patient", "the worker process died twice on this patient")


def reason_named(label: str) -> Reason:
    """The reason with this label. Raises ``KeyError``."""
    return {reason.label: reason for reason in Reason}[label]
