"""What the data stages record: how much there is, how much is vouched for, how exact it is."""

from vismodels.results import Metric

ITEMS = Metric("items", "Items", protocol="files of the set that are handed out", digits=0)
VERIFIED = Metric(
    "verified",
    "Verified",
    higher_is_better=True,
    protocol="items whose sha256 equals the one on the data card",
    digits=0,
)
MEGAPIXELS = Metric(
    "megapixels",
    "Megapixels",
    unit="Mpx",
    protocol="pixels of the HR images after cropping to a multiple of the scale",
    digits=2,
)
LR_DIFFERENCE = Metric(
    "lr_difference",
    "LR difference",
    unit="levels",
    higher_is_better=False,
    protocol="largest absolute difference between our small image and the distributed one, in "
    "8-bit levels; the aggregate is the largest over all images",
    digits=0,
)
PAGE_MEGAPIXELS = Metric(
    "page_megapixels",
    "Megapixels of pages",
    unit="Mpx",
    protocol="pixels of all pages of the set",
    digits=2,
)
TEXT_SHARE = Metric(
    "text_share",
    "Text share",
    unit="%",
    protocol="pixels of the ground truth darker than 128, of all pixels of the page; mean over "
    "pages",
    digits=2,
)
MANY_LEVELED = Metric(
    "many_leveled",
    "Targets of many levels",
    protocol="pages whose ground truth holds other levels than 0 and 255",
    digits=0,
)
