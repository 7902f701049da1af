"""What a set of CT scans records: patients, lesions, slices."""

from vismodels.results import Metric

PATIENTS = Metric("patients", "Patients", protocol="different persons of the set", digits=0)
LESION_SCANS = Metric(
    "lesion_scans", "Scans with lesions", protocol="scans whose lesion mask is not empty", digits=0
)
LESION_SHARE = Metric(
    "lesion_share",
    "Lesion share",
    unit="%",
    protocol="voxels of the lesion mask, of those of the lung mask; mean over scans",
    digits=2,
)
SLICES = Metric(
    "slices",
    "Slices",
    protocol="slices of a scan before resampling; mean over scans",
    digits=0,
)
