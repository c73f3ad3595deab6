//! The invariants, checked in every state, and what must hold at the end.

use super::world::{Pc, Role, World};
use crate::machine::{Stage, overlaps};

type Checked = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

/// Every state.
pub(super) fn state(world: &World) -> Checked {
    for inode in 0..2 {
        scheduled(world, inode)?;
        slots(world, inode)?;
        drains(world, inode)?;
        let (log, told) = (
            world.machine(inode).errors().count(),
            world.ghosts[inode].errors,
        );
        ensure(log == told, || {
            format!("I-35: {told} errors happened on inode {inode}, {log} are in its log")
        })?;
    }
    writes(world)
}

/// I-11: a non-empty list has a drainer coming; the flag means exactly that.
fn scheduled(world: &World, inode: usize) -> Checked {
    let machine = world.machine(inode);
    let listed = world.ready.iter().filter(|&&i| i == inode).count();
    let worked = world
        .actors
        .iter()
        .filter(|a| a.pc == Pc::Working(inode))
        .count();
    ensure(listed + worked <= 1, || {
        format!("I-11: inode {inode} is scheduled {} times", listed + worked)
    })?;
    ensure(machine.queued() == 0 || listed + worked == 1, || {
        format!("I-11: inode {inode} has a list and nobody is coming")
    })
}

/// I-42: the counters are what they count.
fn slots(world: &World, inode: usize) -> Checked {
    let machine = world.machine(inode);
    let in_use = machine.slots().iter().count();
    ensure(in_use == machine.in_flight() as usize, || {
        format!(
            "I-42: {in_use} slots in use, counter says {}",
            machine.in_flight()
        )
    })?;
    ensure(machine.in_flight() <= world.scenario.limit, || {
        format!("I-42: more slots than the limit on inode {inode}")
    })?;
    for (index, slot) in machine.slots().iter() {
        if !matches!(slot.stage, Stage::Begun | Stage::Submitted) {
            continue;
        }
        let of_this = |r: &&super::world::Request| {
            r.slot == index && world.scenario.writes[r.write].inode == inode
        };
        let at_device = world.requests.iter().filter(of_this).count();
        let submitter = usize::from(slot.stage == Stage::Begun);
        ensure(slot.pending as usize == at_device + submitter, || {
            format!(
                "I-38: pending {} with {at_device} requests out",
                slot.pending
            )
        })?;
    }
    Ok(())
}

/// I-14, I-16: while an exclusive drain is held, nothing overlapping is in flight but its own.
fn drains(world: &World, inode: usize) -> Checked {
    for actor in &world.actors {
        let Role::Drain {
            inode: on,
            range,
            exclusive: true,
            ..
        } = &actor.role
        else {
            continue;
        };
        let own = match actor.pc {
            Pc::Held(_) => None,
            Pc::HeldSlot(_, slot) => Some(slot),
            _ => continue,
        };
        if *on != inode {
            continue;
        }
        for (index, slot) in world.machine(inode).slots().iter() {
            ensure(Some(index) == own || !overlaps(&slot.range, range), || {
                format!("I-14: io_end {} is in flight in a held range", slot.id)
            })?;
        }
        for (w, ghost) in world.writes.iter().enumerate() {
            let spec = &world.scenario.writes[w];
            let inside = spec.inode == inode && overlaps(&spec.range, range);
            ensure(!(inside && ghost.in_flight), || {
                format!("I-14: write {w} is not over in a held range")
            })?;
        }
    }
    Ok(())
}

/// I-10 and the order of stages.
fn writes(world: &World) -> Checked {
    for (w, ghost) in world.writes.iter().enumerate() {
        let spec = &world.scenario.writes[w];
        ensure(ghost.published <= 1 && ghost.delivered <= 1, || {
            format!(
                "I-10: write {w} published {} delivered {}",
                ghost.published, ghost.delivered
            )
        })?;
        let failed = spec.requests.contains(&true);
        ensure(!(failed && ghost.published > 0), || {
            format!("I-32: failed write {w} is readable")
        })?;
        if ghost.delivered == 1 {
            let readable = ghost.published == 1 || !spec.owed || ghost.delivered_error;
            ensure(readable, || {
                format!("I-27: write {w} delivered before it is readable")
            })?;
            let wrong = failed || spec.publish_fails && spec.owed;
            let aborted = world.ghosts[spec.inode].aborted;
            ensure(ghost.delivered_error == wrong || aborted, || {
                format!("I-33: write {w} delivered with the wrong outcome")
            })?;
        }
        if let Some(ticket) = ghost.ticket
            && ghost.delivered == 0
        {
            let machine = world.machine(spec.inode);
            // The list's front counts as the mark only for the planted V4 flush.
            ensure(machine.slots().watermark() <= ticket, || {
                format!("I-13: the watermark passed undelivered write {w}")
            })?;
        }
        let private = world.drainers.iter().flat_map(|d| &d.items);
        let held = private.filter(|i| i.payload == Some(w as u8)).count();
        ensure(held <= 1, || {
            format!("I-10: write {w} is in {held} private lists")
        })?;
    }
    Ok(())
}

/// A state without a step: everybody must be done and nothing left over.
pub(super) fn end(world: &World) -> Checked {
    for (n, actor) in world.actors.iter().enumerate() {
        let done = actor.pc == Pc::Done || actor.role == Role::Worker && actor.pc == Pc::Start;
        ensure(done, || {
            format!(
                "deadlock: actor {n} {:?} is stuck at {:?}",
                actor.role, actor.pc
            )
        })?;
    }
    if !world.actors.iter().any(|a| a.role == Role::Worker) && world.scenario.collect {
        // Nobody is obliged to empty the lists; that no waiter was stuck is what matters.
        return Ok(());
    }
    for inode in 0..2 {
        let machine = world.machine(inode);
        let idle = machine.in_flight() == 0 && machine.line_len() == 0 && machine.queued() == 0;
        ensure(idle, || {
            format!("I-42: inode {inode} is not idle at the end")
        })?;
    }
    for (w, ghost) in world.writes.iter().enumerate() {
        let refused = world.ghosts[world.scenario.writes[w].inode].aborted && !ghost.submitted;
        ensure(ghost.delivered == 1 || refused, || {
            format!("I-10: write {w} delivered {} times", ghost.delivered)
        })?;
    }
    Ok(())
}
