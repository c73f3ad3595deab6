//! Open files and directories, by the number the kernel gives back with each request.

use e4_fuse_transport::{Errno, Handle};
use e4_sync::{Arc, Rank, RwLock};

use crate::errno::{Answer, Fail};

/// Values by handle.
pub(crate) struct Handles<T> {
    table: RwLock<Table<T>>,
}

struct Table<T> {
    slots: Vec<Option<Arc<T>>>,
    free: Vec<u32>,
}

impl<T> Handles<T> {
    pub(crate) fn new() -> Self {
        Self {
            table: RwLock::new(
                Rank::LEAF,
                Table {
                    slots: Vec::new(),
                    free: Vec::new(),
                },
            ),
        }
    }

    pub(crate) fn insert(&self, value: T) -> Handle {
        let value = Some(Arc::new(value));
        let mut table = self.table.write();
        let index = if let Some(index) = table.free.pop() {
            table.slots[index as usize] = value;
            index
        } else {
            let index = u32::try_from(table.slots.len()).unwrap_or(u32::MAX);
            table.slots.push(value);
            index
        };
        Handle(u64::from(index))
    }

    pub(crate) fn get(&self, handle: Handle) -> Answer<Arc<T>> {
        let index = usize::try_from(handle.0).unwrap_or(usize::MAX);
        let table = self.table.read();
        let found = table.slots.get(index).and_then(Option::clone);
        found.ok_or(Fail(Errno::BADF))
    }

    /// Takes a handle out; the caller drops it with no lock held.
    pub(crate) fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        let index = u32::try_from(handle.0).ok()?;
        let mut table = self.table.write();
        let gone = table.slots.get_mut(index as usize)?.take()?;
        table.free.push(index);
        Some(gone)
    }

    /// Lets go of everything, at the end.
    pub(crate) fn clear(&self) {
        let all = {
            let mut table = self.table.write();
            table.free.clear();
            std::mem::take(&mut table.slots)
        };
        drop(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_finds_its_value_until_it_is_closed() {
        let handles = Handles::new();
        let (a, b) = (handles.insert('a'), handles.insert('b'));
        assert_eq!(*handles.get(a).expect("open"), 'a');
        assert_eq!(handles.remove(a).as_deref(), Some(&'a'));
        assert!(handles.get(a).is_err() && handles.remove(a).is_none());
        assert_eq!(*handles.get(b).expect("open"), 'b');
        assert!(handles.get(Handle(u64::MAX)).is_err());
    }
}
