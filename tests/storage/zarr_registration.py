"""zarr-python with mien's codecs, as it is in any environment that has mien installed."""

from importlib.metadata import entry_points

from zarr.registry import register_codec

from storage.zarr_codecs import JpegCodec, JpegXlCodec, ResidualCodec

NAMES = {"mien.jpeg": JpegCodec, "mien.jpegxl": JpegXlCodec, "mien.residual": ResidualCodec}


def register_codecs() -> None:
    """Do what the entry points do, where an older editable install does not have them yet."""
    installed = {point.name for point in entry_points(group="zarr.codecs")}
    for name in set(NAMES) - installed:
        register_codec(name, NAMES[name])
