"""How log directories were left: what the controller has to know before its node may lead again.

Runs before the node does, in the process that starts it; reads two small files of each and touches
no log.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tidelog.storage.clean_shutdown import is_clean
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.meta_properties import META_PROPERTIES
from tidelog.storage.written_positions import boot_id, is_of_boot


def may_lack_records(directories: Sequence[str], files: Files = SYSTEM_FILES) -> bool:
    """Whether acknowledged records may be missing: a directory was used, not closed in order, and
    the machine has been started anew since (or it is not known that it has not), so that what was
    in the page cache only is gone. Of the log directories of a node, all but the first may be
    unreadable: the node will say that it does not have what is in them. Raises OSError.
    """
    first, *others = directories
    return _may_lack_records(first, files) or any(_lacks_some(one, files) for one in others)


def _lacks_some(directory: str, files: Files) -> bool:
    try:
        return _may_lack_records(directory, files)
    except OSError:
        return False


def _may_lack_records(directory: str, files: Files) -> bool:
    if not files.exists(os.path.join(directory, META_PROPERTIES)) or is_clean(directory, files):
        return False
    return not is_of_boot(files, directory, boot_id())
