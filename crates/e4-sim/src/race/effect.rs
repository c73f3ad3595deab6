//! What the steps do to the toy world, by kind: writes, conversions, lifetime, truncate, readers.

use super::op::{Op, Ran, Targets};
use super::world::{Content, DiskBlock, Half, Map, Owner, World};

impl World {
    pub(super) fn run_write(&mut self, op: Op, targets: Targets) -> Ran {
        match op {
            Op::Submit(w) => {
                let map = self.map[usize::from(targets[usize::from(w)])];
                let Some(d) = map.disk_block() else {
                    return Ran::Leaves;
                };
                self.io[usize::from(w)].target = Some(d);
            }
            Op::PointAt(w) => self.current = Some(w),
            Op::FlagCurrent => {
                if let Some(w) = self.current {
                    self.io[usize::from(w)].unwritten = true;
                }
            }
            Op::Flag(w) => self.io[usize::from(w)].unwritten = true,
            Op::PrepareHalf { w, second, zero } => {
                let block = usize::from(targets[usize::from(w)]);
                let rest = match (self.map[block], zero) {
                    (Map::Written(d), _) => self.disk[usize::from(d)].content,
                    (_, true) => [Half::Zeros; 2],
                    (_, false) => [Half::Memory; 2],
                };
                let mut buffer = rest;
                buffer[usize::from(second)] = Half::Data(w);
                self.io[usize::from(w)].buffer = Some(buffer);
            }
            Op::Arrive(w) => {
                let io = &mut self.io[usize::from(w)];
                io.done = true;
                let content: Content = io.buffer.unwrap_or([Half::Data(w); 2]);
                if let Some(d) = io.target {
                    let block = &mut self.disk[usize::from(d)];
                    block.content = content;
                    if block.owner != Owner::Ours {
                        return Ran::Broke("I-14: the write lands in a block of another file");
                    }
                }
            }
            Op::ArriveNot(w) => {
                self.io[usize::from(w)].done = true;
                self.io[usize::from(w)].failed = true;
            }
            Op::StartWriteback(w) => {
                let page = &mut self.pages[usize::from(targets[usize::from(w)])];
                page.content = Some([Half::Data(w); 2]);
                page.writeback = true;
            }
            Op::EndWriteback(w) => {
                self.pages[usize::from(targets[usize::from(w)])].writeback = false;
            }
            _ => {}
        }
        Ran::Next
    }

    /// Flips one file block. False if there is nothing to flip any more.
    fn flip(&mut self, block: usize) -> bool {
        match self.map[block] {
            Map::Unwritten(d) => {
                self.map[block] = Map::Written(d);
                true
            }
            Map::Written(_) => true,
            Map::Hole => false,
        }
    }

    fn convert_one(&mut self, w: u8, targets: Targets) -> Ran {
        if self.io[usize::from(w)].freed {
            return Ran::Broke("I-39: the drainer works on a freed io_end");
        }
        self.io[usize::from(w)].converted = true;
        if self.flip(usize::from(targets[usize::from(w)])) {
            Ran::Next
        } else {
            Ran::Broke("I-13: a range is converted after its blocks were freed")
        }
    }

    pub(super) fn run_conversion(&mut self, op: Op, me: usize, targets: Targets) -> Ran {
        match op {
            Op::Convert | Op::ConvertGood => {
                for w in std::mem::take(&mut self.actors[me].private) {
                    if op == Op::ConvertGood && self.io[usize::from(w)].failed {
                        self.sticky = true;
                        self.io[usize::from(w)].converted = true;
                        continue;
                    }
                    if let Ran::Broke(what) = self.convert_one(w, targets) {
                        return Ran::Broke(what);
                    }
                }
                Ran::Next
            }
            Op::ConvertOne(w) => self.convert_one(w, targets),
            Op::ConvertIfFlagged(w) if self.io[usize::from(w)].unwritten => {
                self.convert_one(w, targets)
            }
            Op::ConvertExtent(w) => {
                // Consecutive unwritten blocks are one extent.
                let mut block = usize::from(targets[usize::from(w)]);
                while block < self.map.len() && matches!(self.map[block], Map::Unwritten(_)) {
                    self.flip(block);
                    block += 1;
                }
                self.io[usize::from(w)].converted = true;
                Ran::Next
            }
            Op::ConvertNarrow(w) => {
                let wrapped = usize::from(targets[usize::from(w)] & 1);
                self.flip(wrapped);
                self.io[usize::from(w)].converted = true;
                Ran::Next
            }
            Op::ConvertFails { w, told } => {
                self.io[usize::from(w)].converted = true;
                self.io[usize::from(w)].conversion_failed = true;
                self.sticky |= told;
                Ran::Next
            }
            _ => Ran::Next,
        }
    }

    pub(super) fn run_life(&mut self, op: Op, targets: Targets) -> Ran {
        match op {
            Op::FreeIoEnd(w) => self.io[usize::from(w)].freed = true,
            Op::StartWorkOf(w) if self.io[usize::from(w)].freed => {
                return Ran::Broke("I-39: the work item starts on freed memory");
            }
            Op::AssertNotUnwritten(w) if self.io[usize::from(w)].unwritten => {
                return Ran::Broke("I-37: the release of an empty io_end trips an assertion");
            }
            Op::Deliver { w, durable } => {
                self.io[usize::from(w)].delivered = true;
                let block = usize::from(targets[usize::from(w)]);
                if durable && !self.durable(w, targets) {
                    return Ran::Broke("I-27: an O_SYNC write was acknowledged and is not durable");
                }
                if self.io[usize::from(w)].conversion_failed {
                    return Ran::Broke(
                        "I-33: the conversion failed and the caller is told success",
                    );
                }
                if !self.reads(block).contains(&Half::Data(w)) {
                    return Ran::Broke("I-27: acknowledged, and a read returns zeros");
                }
            }
            Op::DeliverTruth(w) => self.io[usize::from(w)].delivered = true,
            Op::FreeInode => self.inode_alive = false,
            Op::TouchInode if !self.inode_alive => {
                return Ran::Broke("I-39: the worker touches a freed inode");
            }
            _ => {}
        }
        Ran::Next
    }

    pub(super) fn run_truncate(&mut self, op: Op, me: usize) -> Ran {
        match op {
            Op::SetSize(size) => self.size = size,
            Op::Free(b) => {
                if let Some(d) = self.map[usize::from(b)].disk_block() {
                    self.disk[usize::from(d)].owner = Owner::Nobody;
                }
                self.map[usize::from(b)] = Map::Hole;
            }
            Op::Reuse(d) => {
                self.disk[usize::from(d)] = DiskBlock {
                    owner: Owner::Other,
                    content: [Half::Other; 2],
                };
            }
            Op::SwapWithDonor(b) => {
                // The donor's block comes from the end of the disk and has the same data.
                if let Some(d) = self.map[usize::from(b)].disk_block() {
                    let donor = self.disk.len() - 1;
                    let data = self.disk[usize::from(d)].content;
                    self.disk[donor] = DiskBlock {
                        owner: Owner::Ours,
                        content: data,
                    };
                    self.map[usize::from(b)] = Map::Written(donor as u8);
                    self.disk[usize::from(d)] = DiskBlock {
                        owner: Owner::Other,
                        content: [Half::Other; 2],
                    };
                }
            }
            Op::Fallocate(b) => {
                self.map[usize::from(b)] = Map::Unwritten(b);
                self.disk[usize::from(b)].owner = Owner::Ours;
            }
            Op::AllocateWritten(b) => {
                self.map[usize::from(b)] = Map::Written(b);
                self.disk[usize::from(b)].owner = Owner::Ours;
            }
            Op::LearnError => {
                self.actors[me].error = self.sticky;
            }
            Op::ProceedUnlessError => {
                let damaged = self.io.iter().any(|io| io.conversion_failed);
                if damaged && !self.actors[me].error {
                    return Ran::Broke("I-35: the punch goes on over a damaged inode");
                }
            }
            _ => {}
        }
        Ran::Next
    }

    pub(super) fn run_reader(&mut self, op: Op, me: usize) -> Ran {
        match op {
            Op::CheckSize(b) if b >= self.size => {
                self.dio -= 1;
                return Ran::Leaves;
            }
            Op::Lookup(b) => {
                self.actors[me].mapped = match self.map[usize::from(b)] {
                    Map::Written(d) => Some(d),
                    _ => None,
                };
            }
            Op::ReadThrough => {
                self.actors[me].read = Some(self.through(self.actors[me].mapped));
            }
            Op::ExpectData(w) => {
                let want = Some([Half::Data(w); 2]);
                if self.actors[me].read != want {
                    return Ran::Broke("I-26: zeros are read where data was written");
                }
            }
            Op::ExpectOurs => {
                let strange = |h: &Half| matches!(h, Half::Old | Half::Other | Half::Memory);
                if self.actors[me].read.iter().flatten().any(strange) {
                    return Ran::Broke("I-1: somebody else's data is read");
                }
            }
            Op::ExpectHalves if self.actors[me].read != Some([Half::Data(0), Half::Data(1)]) => {
                return Ran::Broke("I-48: an unaligned write zeroed its neighbour");
            }
            Op::ReadPage(b) => {
                let fill = if b < self.size {
                    self.reads(usize::from(b))
                } else {
                    [Half::Zeros; 2]
                };
                let page = &mut self.pages[usize::from(b)];
                self.actors[me].read = Some(*page.content.get_or_insert(fill));
            }
            Op::Reclaim(b) if !self.pages[usize::from(b)].writeback => {
                self.pages[usize::from(b)].content = None;
            }
            Op::InvalidatePage(b) => self.pages[usize::from(b)].content = None,
            _ => {}
        }
        Ran::Next
    }
}
