"""The records of STDF V4 as data: names by type, and the fields of those we read or write.

A layout is the ordered fields of a record. Codes are the specification's: U1 U2 U4 unsigned, I1 I2
I4 signed, R4 float, B1 one byte of flags, C1 one character, Cn text and Bn bytes behind a length
byte, N1 a nibble. A field with ``counted_by`` is an array as long as that earlier field says.
"""

from __future__ import annotations

from typing import NamedTuple

RECORD_NAMES: dict[tuple[int, int], str] = {
    (0, 10): "FAR",
    (0, 20): "ATR",
    (0, 30): "VUR",
    (1, 10): "MIR",
    (1, 20): "MRR",
    (1, 30): "PCR",
    (1, 40): "HBR",
    (1, 50): "SBR",
    (1, 60): "PMR",
    (1, 62): "PGR",
    (1, 63): "PLR",
    (1, 70): "RDR",
    (1, 80): "SDR",
    (1, 90): "PSR",
    (1, 91): "NMR",
    (1, 92): "CNR",
    (1, 93): "SSR",
    (1, 94): "CDR",
    (2, 10): "WIR",
    (2, 20): "WRR",
    (2, 30): "WCR",
    (5, 10): "PIR",
    (5, 20): "PRR",
    (10, 30): "TSR",
    (15, 10): "PTR",
    (15, 15): "MPR",
    (15, 20): "FTR",
    (15, 30): "STR",
    (20, 10): "BPS",
    (20, 20): "EPS",
    (50, 10): "GDR",
    (50, 30): "DTR",
}
RECORD_TYPES = {name: key for key, name in RECORD_NAMES.items()}


def record_name(typ: int, sub: int) -> str:
    """``PTR`` for (15, 10); ``(180, 1)`` for a type that STDF V4 does not know."""
    return RECORD_NAMES.get((typ, sub), f"({typ}, {sub})")


class Field(NamedTuple):
    """One field: its name and code, and for an array the name of the field that counts it."""

    name: str
    code: str
    counted_by: str = ""


def _fields(text: str) -> tuple[Field, ...]:
    """``"HEAD_NUM:U1 SITE_NUM:U1:SITE_CNT"`` as fields; the third part is the count."""
    return tuple(Field(*item.split(":")) for item in text.split())


_LIMITS = "OPT_FLAG:B1 RES_SCAL:I1 LLM_SCAL:I1 HLM_SCAL:I1 LO_LIMIT:R4 HI_LIMIT:R4"
_FORMATS = "C_RESFMT:Cn C_LLMFMT:Cn C_HLMFMT:Cn LO_SPEC:R4 HI_SPEC:R4"

PTR_TAIL = _fields(f"TEST_TXT:Cn ALARM_ID:Cn {_LIMITS} UNITS:Cn {_FORMATS}")
"""What follows RESULT in a PTR; every part of it may be cut."""

MPR_TAIL = _fields(
    f"TEST_TXT:Cn ALARM_ID:Cn {_LIMITS} START_IN:R4 INCR_IN:R4 RTN_INDX:U2:RTN_ICNT "
    f"UNITS:Cn UNITS_IN:Cn {_FORMATS}"
)
"""What follows RTN_RSLT in an MPR."""

_EXECUTION = "TEST_NUM:U4 HEAD_NUM:U1 SITE_NUM:U1 TEST_FLG:B1 PARM_FLG:B1"
_BIN = "HEAD_NUM:U1 SITE_NUM:U1 {0}_NUM:U2 {0}_CNT:U4 {0}_PF:C1 {0}_NAM:Cn"

LAYOUTS: dict[str, tuple[Field, ...]] = {
    "FAR": _fields("CPU_TYPE:U1 STDF_VER:U1"),
    "ATR": _fields("MOD_TIM:U4 CMD_LINE:Cn"),
    "MIR": _fields(
        "SETUP_T:U4 START_T:U4 STAT_NUM:U1 MODE_COD:C1 RTST_COD:C1 PROT_COD:C1 BURN_TIM:U2 "
        "CMOD_COD:C1 LOT_ID:Cn PART_TYP:Cn NODE_NAM:Cn TSTR_TYP:Cn JOB_NAM:Cn JOB_REV:Cn "
        "SBLOT_ID:Cn OPER_NAM:Cn EXEC_TYP:Cn EXEC_VER:Cn TEST_COD:Cn TST_TEMP:Cn USER_TXT:Cn "
        "AUX_FILE:Cn PKG_TYP:Cn FAMLY_ID:Cn DATE_COD:Cn FACIL_ID:Cn FLOOR_ID:Cn PROC_ID:Cn "
        "OPER_FRQ:Cn SPEC_NAM:Cn SPEC_VER:Cn FLOW_ID:Cn SETUP_ID:Cn DSGN_REV:Cn ENG_ID:Cn "
        "ROM_COD:Cn SERL_NUM:Cn SUPR_NAM:Cn"
    ),
    "MRR": _fields("FINISH_T:U4 DISP_COD:C1 USR_DESC:Cn EXC_DESC:Cn"),
    "PCR": _fields(
        "HEAD_NUM:U1 SITE_NUM:U1 PART_CNT:U4 RTST_CNT:U4 ABRT_CNT:U4 GOOD_CNT:U4 FUNC_CNT:U4"
    ),
    "HBR": _fields(_BIN.format("HBIN")),
    "SBR": _fields(_BIN.format("SBIN")),
    "PMR": _fields(
        "PMR_INDX:U2 CHAN_TYP:U2 CHAN_NAM:Cn PHY_NAM:Cn LOG_NAM:Cn HEAD_NUM:U1 SITE_NUM:U1"
    ),
    "SDR": _fields(
        "HEAD_NUM:U1 SITE_GRP:U1 SITE_CNT:U1 SITE_NUM:U1:SITE_CNT HAND_TYP:Cn HAND_ID:Cn "
        "CARD_TYP:Cn CARD_ID:Cn LOAD_TYP:Cn LOAD_ID:Cn DIB_TYP:Cn DIB_ID:Cn CABL_TYP:Cn "
        "CABL_ID:Cn CONT_TYP:Cn CONT_ID:Cn LASR_TYP:Cn LASR_ID:Cn EXTR_TYP:Cn EXTR_ID:Cn"
    ),
    "WIR": _fields("HEAD_NUM:U1 SITE_GRP:U1 START_T:U4 WAFER_ID:Cn"),
    "WRR": _fields(
        "HEAD_NUM:U1 SITE_GRP:U1 FINISH_T:U4 PART_CNT:U4 RTST_CNT:U4 ABRT_CNT:U4 GOOD_CNT:U4 "
        "FUNC_CNT:U4 WAFER_ID:Cn FABWF_ID:Cn FRAME_ID:Cn MASK_ID:Cn USR_DESC:Cn EXC_DESC:Cn"
    ),
    "WCR": _fields(
        "WAFR_SIZ:R4 DIE_HT:R4 DIE_WID:R4 WF_UNITS:U1 WF_FLAT:C1 CENTER_X:I2 CENTER_Y:I2 "
        "POS_X:C1 POS_Y:C1"
    ),
    "PIR": _fields("HEAD_NUM:U1 SITE_NUM:U1"),
    "PRR": _fields(
        "HEAD_NUM:U1 SITE_NUM:U1 PART_FLG:B1 NUM_TEST:U2 HARD_BIN:U2 SOFT_BIN:U2 X_COORD:I2 "
        "Y_COORD:I2 TEST_T:U4 PART_ID:Cn PART_TXT:Cn PART_FIX:Bn"
    ),
    "TSR": _fields(
        "HEAD_NUM:U1 SITE_NUM:U1 TEST_TYP:C1 TEST_NUM:U4 EXEC_CNT:U4 FAIL_CNT:U4 ALRM_CNT:U4 "
        "TEST_NAM:Cn SEQ_NAME:Cn TEST_LBL:Cn OPT_FLAG:B1 TEST_TIM:R4 TEST_MIN:R4 TEST_MAX:R4 "
        "TST_SUMS:R4 TST_SQRS:R4"
    ),
    "PTR": (*_fields(f"{_EXECUTION} RESULT:R4"), *PTR_TAIL),
    "MPR": (
        *_fields(f"{_EXECUTION} RTN_ICNT:U2 RSLT_CNT:U2 RTN_STAT:N1:RTN_ICNT RTN_RSLT:R4:RSLT_CNT"),
        *MPR_TAIL,
    ),
    "DTR": _fields("TEXT_DAT:Cn"),
}

RESULT_INVALID = 0x3F
"""TEST_FLG bits 0–5: alarm, invalid, unreliable, timeout, not executed, aborted."""
PARAMETER_INVALID = 0x07
"""PARM_FLG bits 0–2: scale error, drift error, oscillation; the result is not valid either."""
NO_VERDICT, FAILED = 0x40, 0x80
"""TEST_FLG bits 6 and 7: the tester did not judge the result; the test failed."""

PART_RETESTED_BY_ID, PART_RETESTED_BY_XY, PART_ABNORMAL, PART_FAILED, PART_NOT_JUDGED = (
    1,
    2,
    4,
    8,
    16,
)
"""PART_FLG bits 0–4."""

ALL_HEADS = 255
"""HEAD_NUM or SITE_GRP of a record that speaks for every head or site."""
