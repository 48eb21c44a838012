"""Personal data in the database, encrypted with a key for each subject."""

from eventkit.storage.privacy.encryption import Encryption, Unsealed
from eventkit.storage.privacy.subject_keys import KeySql, Wrapped

__all__ = ["Encryption", "KeySql", "Unsealed", "Wrapped"]
