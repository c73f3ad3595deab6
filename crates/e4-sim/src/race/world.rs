//! The toy filesystem in which the historical algorithms run: one file of a few blocks, the disk
//! under it, and whatever each generation of the algorithm kept per inode. Small on purpose: every
//! interleaving of a case is visited.

/// Blocks of the file, and of the disk.
pub(super) const BLOCKS: usize = 4;

/// Half a block is the smallest thing written (for unaligned writes).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Half {
    /// What the disk block's previous owner left there.
    Old,
    Zeros,
    /// Data of write n.
    Data(u8),
    /// Data of the file that got the block after us.
    Other,
    /// Whatever was in the memory page.
    Memory,
}

pub(super) type Content = [Half; 2];

/// What the extent tree says about a file block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Map {
    Hole,
    Unwritten(u8),
    Written(u8),
}

impl Map {
    pub(super) fn disk_block(self) -> Option<u8> {
        match self {
            Map::Hole => None,
            Map::Unwritten(b) | Map::Written(b) => Some(b),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Owner {
    Ours,
    Nobody,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct DiskBlock {
    pub owner: Owner,
    pub content: Content,
}

/// A page of the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Page {
    pub content: Option<Content>,
    pub writeback: bool,
}

/// One write and its io_end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct IoEnd {
    /// Disk block chosen at submission.
    pub target: Option<u8>,
    /// What the request carries, if not plain data.
    pub buffer: Option<Content>,
    /// The "unwritten" flag.
    pub unwritten: bool,
    pub done: bool,
    pub failed: bool,
    pub converted: bool,
    pub conversion_failed: bool,
    pub delivered: bool,
    /// The memory was given back.
    pub freed: bool,
}

/// An actor: where it is in its program, and its registers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct ActorState {
    pub pc: usize,
    /// io_ends it took off the list.
    pub private: Vec<u8>,
    /// Disk block found by a lookup; `None` reads as zeros.
    pub mapped: Option<u8>,
    /// What it read.
    pub read: Option<Content>,
    /// An error it learned.
    pub error: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub map: [Map; BLOCKS],
    pub committed: [Map; BLOCKS],
    pub size: u8,
    pub committed_size: u8,
    pub disk: [DiskBlock; BLOCKS],
    pub pages: [Page; BLOCKS],
    pub io: Vec<IoEnd>,
    /// The completed list.
    pub list: Vec<u8>,
    /// The inode lock's holder.
    pub lock: Option<u8>,
    /// Direct I/O in flight, as counted by the algorithm.
    pub dio: i8,
    /// Unwritten io_ends pending, as counted by the algorithm.
    pub pending: i8,
    /// The shared "current io_end" pointer.
    pub current: Option<u8>,
    /// New submissions are held off.
    pub held_off: bool,
    pub inode_alive: bool,
    /// Free journal space, in conversions.
    pub journal_space: u8,
    /// Items a drainer has taken without yielding.
    pub turn: u8,
    /// An error nobody was told yet, kept in the inode.
    pub sticky: bool,
    pub actors: Vec<ActorState>,
}

impl World {
    /// `mapped` blocks of unwritten space, in disk blocks that hold old data.
    pub(super) fn unwritten(mapped: usize, writes: usize, actors: usize) -> World {
        let map = std::array::from_fn(|i| {
            if i < mapped {
                Map::Unwritten(i as u8)
            } else {
                Map::Hole
            }
        });
        let disk = std::array::from_fn(|i| DiskBlock {
            owner: if i < mapped {
                Owner::Ours
            } else {
                Owner::Nobody
            },
            content: [Half::Old; 2],
        });
        World {
            map,
            committed: map,
            size: mapped as u8,
            committed_size: mapped as u8,
            disk,
            pages: [Page::default(); BLOCKS],
            io: vec![IoEnd::default(); writes],
            list: Vec::new(),
            lock: None,
            dio: 0,
            pending: 0,
            current: None,
            held_off: false,
            inode_alive: true,
            journal_space: 1,
            turn: 0,
            sticky: false,
            actors: vec![ActorState::default(); actors],
        }
    }

    /// As `unwritten`, but the blocks hold data of write 0 already.
    pub(super) fn written(mapped: usize, writes: usize, actors: usize) -> World {
        let mut world = World::unwritten(mapped, writes, actors);
        for i in 0..mapped {
            world.map[i] = Map::Written(i as u8);
            world.disk[i].content = [Half::Data(0); 2];
        }
        world.committed = world.map;
        world
    }

    /// What a read of the disk through this mapping returns.
    pub(super) fn through(&self, mapped: Option<u8>) -> Content {
        match mapped {
            Some(b) => self.disk[usize::from(b)].content,
            None => [Half::Zeros; 2],
        }
    }

    /// What a reader sees of a file block, given the tree.
    pub(super) fn reads(&self, block: usize) -> Content {
        match self.map[block] {
            Map::Written(b) => self.through(Some(b)),
            _ => [Half::Zeros; 2],
        }
    }
}
