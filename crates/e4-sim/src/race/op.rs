//! The steps algorithms are made of. Each is atomic; a program is a list of them. The schedules of
//! the invariants page read almost word for word as such programs.

use super::world::{Half, Map, Owner, World};

/// One atomic step. Numbers are writes (`w`) or file blocks (`b`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    // ---- locks and counts -------------------------------------------------------------------
    /// Blocks until the inode lock is free.
    Lock,
    /// Goes on if it gets the lock; stays where it is otherwise (requeues itself).
    TryLock,
    Unlock,
    /// Direct I/O in flight: plus or minus.
    Dio(i8),
    WaitNoDio,
    /// Pending unwritten io_ends: plus or minus.
    Pending(i8),
    WaitNonePending,
    /// Newcomers wait (an I/O barrier).
    HoldOff,
    LetIn,
    /// A newcomer, counted as direct I/O: looking and counting are one step. Blocks while held off.
    EnterCounted,
    TakeJournalSpace,
    GiveJournalSpace,
    /// Back to the start.
    Again,
    /// One more item of the same inode without letting another inode go first.
    Turn,
    /// Another inode goes first.
    Yield,
    // ---- a write ----------------------------------------------------------------------------
    /// Looks the target up and sends the request.
    Submit(u8),
    /// The inode's pointer names this io_end now.
    PointAt(u8),
    /// Sets the unwritten flag of the io_end the pointer names.
    FlagCurrent,
    /// Sets the unwritten flag.
    Flag(u8),
    /// Fills the request's buffer for an unaligned write of the first or second half.
    PrepareHalf {
        w: u8,
        second: bool,
        zero: bool,
    },
    /// The data reaches the disk block.
    Arrive(u8),
    /// The device answers with an error.
    ArriveNot(u8),
    StartWriteback(u8),
    EndWriteback(u8),
    WaitWriteback(u8),
    // ---- the list ---------------------------------------------------------------------------
    Enqueue(u8),
    /// A worker waits for the list to be non-empty.
    WaitList,
    Splice,
    /// Skips the rest of the program's flush (the next two steps) if the list is empty.
    SkipFlushIfEmpty,
    /// Converts what was spliced.
    Convert,
    /// As `Convert`, but leaves failed io_ends alone and records their error.
    ConvertGood,
    /// Converts the extent that holds the block, whatever it has become.
    ConvertExtent(u8),
    /// Converts through an offset kept in too narrow a type.
    ConvertNarrow(u8),
    /// The conversion fails; `told`: the error is recorded.
    ConvertFails {
        w: u8,
        told: bool,
    },
    /// Converts one write directly.
    ConvertOne(u8),
    /// Converts if the flag is set, nothing otherwise.
    ConvertIfFlagged(u8),
    WaitConverted(u8),
    FreeIoEnd(u8),
    /// A work item inside the io_end starts.
    StartWorkOf(u8),
    AssertNotUnwritten(u8),
    /// Success to the caller; `durable`: promised to survive.
    Deliver {
        w: u8,
        durable: bool,
    },
    /// Success or the error, whichever is true.
    DeliverTruth(u8),
    WaitDelivered(u8),
    // ---- truncate and friends ---------------------------------------------------------------
    SetSize(u8),
    /// Frees a block of the file.
    Free(u8),
    /// Another file takes the freed disk block and writes it.
    Reuse(u8),
    /// Swaps the block with a donor's.
    SwapWithDonor(u8),
    /// Preallocates the block after `b`, growing its extent.
    Fallocate(u8),
    /// Allocates a block as written, before its data.
    AllocateWritten(u8),
    LearnError,
    /// Goes on with the punch although the inode may be damaged.
    ProceedUnlessError,
    // ---- readers ----------------------------------------------------------------------------
    /// Leaves the program, uncounted, if the block is beyond the size.
    CheckSize(u8),
    Lookup(u8),
    ReadThrough,
    /// What was read must be the write's data.
    ExpectData(u8),
    /// What was read must never have been anybody else's.
    ExpectOurs,
    /// Writes 0 and 1 filled the two halves: both must be there.
    ExpectHalves,
    /// Read through the page cache, filling the page if it is absent.
    ReadPage(u8),
    /// The page is dropped if it is clean.
    Reclaim(u8),
    InvalidatePage(u8),
    // ---- durability and life ----------------------------------------------------------------
    Commit,
    /// fsync says that the write is durable.
    FsyncReturns(u8),
    /// The power may fail now: nothing committed may show old data.
    PowerCut,
    FreeInode,
    TouchInode,
    WaitAllFreed,
}

/// Items a drainer may take in one turn.
const TURN_LIMIT: u8 = 4;

/// How a step went.
pub(super) enum Ran {
    /// On to the next step.
    Next,
    /// Stays at this step, having changed nothing.
    Spins,
    /// On to step n.
    Jump(usize),
    /// The program is over.
    Leaves,
    /// An invariant broke.
    Broke(&'static str),
}

/// The file block of each write.
pub(super) type Targets = &'static [u8];

impl World {
    /// True if the step can be taken now.
    pub(super) fn enabled(&self, op: Op) -> bool {
        match op {
            Op::Lock => self.lock.is_none(),
            Op::WaitNoDio => self.dio == 0,
            Op::WaitNonePending => self.pending == 0,
            Op::EnterCounted => !self.held_off,
            Op::TakeJournalSpace => self.journal_space > 0,
            Op::Arrive(w) | Op::ArriveNot(w) => {
                let io = &self.io[usize::from(w)];
                io.target.is_some() && !io.done
            }
            Op::WaitWriteback(b) => !self.pages[usize::from(b)].writeback,
            Op::WaitList => !self.list.is_empty(),
            Op::WaitConverted(w) => self.io[usize::from(w)].converted,
            Op::WaitDelivered(w) => self.io[usize::from(w)].delivered,
            Op::Reuse(d) => self.disk[usize::from(d)].owner == Owner::Nobody,
            Op::WaitAllFreed => self.io.iter().all(|io| io.freed),
            _ => true,
        }
    }

    /// Takes the step. `me` is the acting program.
    pub(super) fn run(&mut self, op: Op, me: usize, targets: Targets) -> Ran {
        match op {
            Op::TryLock if self.lock.is_some() => return Ran::Spins,
            Op::Lock | Op::TryLock => self.lock = Some(me as u8),
            Op::Unlock => self.lock = None,
            Op::Dio(by) => self.dio += by,
            Op::EnterCounted => self.dio += 1,
            Op::Pending(by) => self.pending += by,
            Op::HoldOff => self.held_off = true,
            Op::LetIn => self.held_off = false,
            Op::TakeJournalSpace => self.journal_space -= 1,
            Op::GiveJournalSpace => self.journal_space += 1,
            Op::Again => return Ran::Jump(0),
            Op::Yield => self.turn = 0,
            Op::Turn if self.turn == TURN_LIMIT => {
                return Ran::Broke("I-21: one inode's list keeps the worker from everybody else");
            }
            Op::Turn => self.turn += 1,
            Op::SkipFlushIfEmpty if self.list.is_empty() => {
                return Ran::Jump(self.actors[me].pc + 3);
            }
            Op::Submit(_)
            | Op::PointAt(_)
            | Op::FlagCurrent
            | Op::Flag(_)
            | Op::PrepareHalf { .. }
            | Op::Arrive(_)
            | Op::ArriveNot(_)
            | Op::StartWriteback(_)
            | Op::EndWriteback(_) => return self.run_write(op, targets),
            Op::Enqueue(w) => self.list.push(w),
            Op::Splice => self.actors[me].private = std::mem::take(&mut self.list),
            Op::Convert
            | Op::ConvertGood
            | Op::ConvertExtent(_)
            | Op::ConvertNarrow(_)
            | Op::ConvertFails { .. }
            | Op::ConvertOne(_)
            | Op::ConvertIfFlagged(_) => return self.run_conversion(op, me, targets),
            Op::FreeIoEnd(_)
            | Op::StartWorkOf(_)
            | Op::AssertNotUnwritten(_)
            | Op::Deliver { .. }
            | Op::DeliverTruth(_)
            | Op::FreeInode
            | Op::TouchInode => return self.run_life(op, targets),
            Op::SetSize(_)
            | Op::Free(_)
            | Op::Reuse(_)
            | Op::SwapWithDonor(_)
            | Op::Fallocate(_)
            | Op::AllocateWritten(_)
            | Op::LearnError
            | Op::ProceedUnlessError => return self.run_truncate(op, me),
            Op::CheckSize(_)
            | Op::Lookup(_)
            | Op::ReadThrough
            | Op::ExpectData(_)
            | Op::ExpectOurs
            | Op::ExpectHalves
            | Op::ReadPage(_)
            | Op::Reclaim(_)
            | Op::InvalidatePage(_) => return self.run_reader(op, me),
            Op::Commit => {
                self.committed = self.map;
                self.committed_size = self.size;
            }
            Op::FsyncReturns(w) if !self.durable(w, targets) => {
                return Ran::Broke("I-24: fsync returned, and after a cut the data reads as zeros");
            }
            Op::PowerCut if self.exposes() => {
                return Ran::Broke("I-28: after a cut the block shows old disk contents");
            }
            _ => {}
        }
        Ran::Next
    }

    /// True if the write would be read back after a power cut now.
    pub(super) fn durable(&self, w: u8, targets: Targets) -> bool {
        let b = targets[usize::from(w)];
        let Map::Written(d) = self.committed[usize::from(b)] else {
            return false;
        };
        b < self.committed_size && self.disk[usize::from(d)].content == [Half::Data(w); 2]
    }

    /// True if a committed written block holds what was never written to it.
    fn exposes(&self) -> bool {
        self.committed.iter().any(|m| match m {
            Map::Written(d) => self.disk[usize::from(*d)].content.contains(&Half::Old),
            _ => false,
        })
    }
}
