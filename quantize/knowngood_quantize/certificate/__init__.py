"""The certificate: what quantisation and conversion changed of fp32's scores and verdicts.

``certify_scorers`` runs forms of a model beside their reference on the same dies; ``certify_form``
does so for scores that exist already. `Certificate` is what comes out: JSON (``to_json``), a table
for the terminal (``certificate_table``), a page with plots (``certificate_page``, extra
``report``). `CertificateGates` says what is allowed. docs/certificate.md defines every figure.
"""

from ._certify import Circumstances, certify_scorers
from ._dies import CertificationDies, DieValues, digest_of
from ._gates import DEFAULT_GATES, CertificateGates, FormLimits
from ._measure import certify_form, certify_reference
from ._page import certificate_page
from ._rate import Rate
from ._record import (
    Certificate,
    DieSet,
    ErrorBin,
    FormCertificate,
    PointCertificate,
    ReferenceCertificate,
    ReferencePoint,
    ScoreError,
)
from ._scores import FormScores, ReferenceScores, Rescored, Scored, ScoredDies
from ._table import certificate_table

__all__ = [
    "DEFAULT_GATES",
    "Certificate",
    "CertificateGates",
    "CertificationDies",
    "Circumstances",
    "DieSet",
    "DieValues",
    "ErrorBin",
    "FormCertificate",
    "FormLimits",
    "FormScores",
    "PointCertificate",
    "Rate",
    "ReferenceCertificate",
    "ReferencePoint",
    "ReferenceScores",
    "Rescored",
    "ScoreError",
    "Scored",
    "ScoredDies",
    "certificate_page",
    "certificate_table",
    "certify_form",
    "certify_reference",
    "certify_scorers",
    "digest_of",
]
