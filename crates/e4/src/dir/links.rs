//! Link counts, and what forbids changing a name: the rules that every operation on names shares.

use e4_format::features::RoCompatFeatures;
use e4_format::{FileType, InodeFlags};
use e4_sync::Arc;

use crate::error::{Error, Result};
use crate::inode::{Core, InodeState};
use crate::mount::Shared;

/// Most links an inode may have; a directory of an image with `dir_nlink` stops counting there.
pub(crate) const LINK_MAX: u16 = 65000;
/// Longest name.
const NAME_MAX: usize = 255;

/// A name that can be created, removed or renamed.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong { len: name.len() });
    }
    if name.is_empty() {
        return Err(Error::NotFound {
            path: String::new(),
        });
    }
    if name == b"." || name == b".." {
        return Err(Error::Invalid {
            what: "the names . and .. stay as they are",
        });
    }
    if name.iter().any(|b| *b == 0 || *b == b'/') {
        return Err(Error::Invalid {
            what: "a name with a slash or a zero byte",
        });
    }
    Ok(())
}

impl Shared {
    /// It is a directory, and still has its name.
    pub(crate) fn check_dir(&self, state: &InodeState, core: &Core) -> Result<()> {
        if state.kind != Some(FileType::Directory) {
            return Err(Error::NotADirectory {
                path: format!("inode {}", state.ino),
            });
        }
        if core.disk.links_count == 0 {
            return Err(Error::NotFound {
                path: format!("removed directory, inode {}", state.ino),
            });
        }
        Ok(())
    }

    fn not_permitted(&self, state: &InodeState, flag: &'static str) -> Error {
        Error::NotPermitted {
            image: Arc::clone(&self.image),
            ino: state.ino,
            flag,
        }
    }

    pub(crate) fn check_not_immutable(&self, state: &InodeState, core: &Core) -> Result<()> {
        if core.disk.flags.contains(InodeFlags::IMMUTABLE) {
            return Err(self.not_permitted(state, "immutable"));
        }
        Ok(())
    }

    pub(crate) fn check_not_append_only(&self, state: &InodeState, core: &Core) -> Result<()> {
        if core.disk.flags.contains(InodeFlags::APPEND) {
            return Err(self.not_permitted(state, "append-only"));
        }
        Ok(())
    }

    /// Neither immutable nor append-only: it may lose names, or change in place.
    pub(crate) fn check_free_to_change(&self, state: &InodeState, core: &Core) -> Result<()> {
        self.check_not_immutable(state, core)?;
        self.check_not_append_only(state, core)
    }

    /// A directory can count one more directory below it.
    pub(crate) fn check_links(&self, state: &InodeState) -> Result<()> {
        let core = state.core.read();
        let links = core.disk.links_count;
        // With `dir_nlink` an indexed directory counts no further; a count of 1 says so.
        let uncounted = self.sb.ro_compat().contains(RoCompatFeatures::DIR_NLINK)
            && core.disk.flags.contains(InodeFlags::INDEX);
        if links >= LINK_MAX && !uncounted {
            return Err(self.too_many_links(state, links));
        }
        Ok(())
    }

    pub(crate) fn too_many_links(&self, state: &InodeState, links: u16) -> Error {
        Error::TooManyLinks {
            image: Arc::clone(&self.image),
            ino: state.ino,
            links,
        }
    }
}

/// A directory got one more directory below it.
pub(crate) fn count_subdirectory(core: &mut Core) {
    let links = core.disk.links_count;
    if links == 1 {
        return;
    }
    core.disk.links_count = match links.saturating_add(1) {
        n if n > LINK_MAX => 1,
        n => n,
    };
}

/// A directory lost a directory below it.
pub(crate) fn uncount_subdirectory(core: &mut Core) {
    // 1 means: not counted. 2 with a directory less is damage, and stays.
    if core.disk.links_count > 2 {
        core.disk.links_count -= 1;
    }
}
