"""What bad recordings, tables and catalogs raise."""


class DataError(Exception):
    """Input that cannot be used; its text is one sentence a user can act on."""


class ConfigError(Exception):
    """A configuration that cannot be used; its text is one sentence a user can act on."""


class EmptyFileError(DataError):
    """A file without a row: an error where it is all there is, else worth a mention."""
