//! What each step does: the critical sections of the shell, one for one.

use super::world::{Drainer, Machine, Owner, Pc, Phase, Request, Role, Step, World};
use crate::machine::{Actions, Class, Event, Intent, Outcome, Policy, overlaps};

type Checked = Result<(), String>;

impl World {
    /// Takes a step, checking what it must not do.
    pub(super) fn take(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Complete { request, inline } => self.complete(request, inline),
            Step::Drain(n) => self.drain_phase(n),
            Step::Act(n) => self.act(n),
        }
    }

    fn inode_of(&self, write: usize) -> usize {
        self.scenario.writes[write].inode
    }

    /// Carries out the side effects of an answer.
    fn follow_up(&mut self, inode: usize, actions: &Actions<u8, u8>) {
        if actions.schedule {
            self.ready.push(inode);
        }
        if actions.wake {
            self.wake(inode);
        }
    }

    fn wake(&mut self, inode: usize) {
        let scenario = self.scenario.clone();
        for actor in &mut self.actors {
            let on = match &actor.role {
                Role::Writer(w) => scenario.writes[*w].inode,
                Role::Plain { inode, .. }
                | Role::Barrier { inode }
                | Role::Drain { inode, .. }
                | Role::Abort { inode } => *inode,
                Role::Worker => continue,
            };
            if on == inode
                && let Pc::Asleep(id) = actor.pc
            {
                actor.pc = Pc::Look(id);
            }
        }
    }

    fn feed(&mut self, inode: usize, event: Event<u8, u8>) -> Outcome<u8, u8> {
        let actions = self.inodes[inode].apply(event);
        self.follow_up(inode, &actions);
        actions.out
    }

    // ---- completion -------------------------------------------------------------------------

    fn complete(&mut self, request: usize, inline: bool) -> Checked {
        let Request { write, slot, fails } = self.requests.remove(request);
        let inode = self.inode_of(write);
        self.writes[write].at_device -= 1;
        let event = Event::RequestDone {
            slot,
            error: fails.then_some(write as u8),
            inline,
            stamp: 0,
        };
        self.take_in(inode, write, event, inline)
    }

    /// The shell's `take_in`: event, splice, leave, in one critical section.
    fn take_in(
        &mut self,
        inode: usize,
        write: usize,
        event: Event<u8, u8>,
        inline: bool,
    ) -> Checked {
        let mut items = Vec::new();
        let out = self.inodes[inode].apply(event).out;
        match out {
            Outcome::Item(item) => {
                self.note_completed(write, None)?;
                items.push(item);
            }
            Outcome::Queued(ticket) => self.note_completed(write, Some(ticket))?,
            _ => {}
        }
        if inline {
            self.splice(inode, &mut items);
        }
        let left = self.inodes[inode].apply(Event::Leave { scheduled: false });
        self.follow_up(inode, &left);
        self.start(inode, items, Owner::Completer)
    }

    fn note_completed(&mut self, write: usize, ticket: Option<u64>) -> Checked {
        let inode = self.inode_of(write);
        let spec = &self.scenario.writes[write];
        let failed = spec.requests.contains(&true) || self.ghosts[inode].aborted && spec.owed;
        let w = &mut self.writes[write];
        if !w.submitted || w.at_device > 0 {
            return Err(format!(
                "I-38: write {write} completed while being submitted"
            ));
        }
        if w.completed {
            return Err(format!("I-10: write {write} completed twice"));
        }
        w.completed = true;
        w.ticket = ticket;
        if failed {
            self.ghosts[inode].errors += 1;
        }
        Ok(())
    }

    fn splice(&mut self, inode: usize, items: &mut Vec<crate::machine::Item<u8, u8>>) {
        while items.len() < self.scenario.turn {
            match self.inodes[inode].apply(Event::Splice { stamp: 0 }).out {
                Outcome::Item(item) => items.push(item),
                _ => break,
            }
        }
    }

    fn start(
        &mut self,
        inode: usize,
        items: Vec<crate::machine::Item<u8, u8>>,
        owner: Owner,
    ) -> Checked {
        if items.iter().any(|i| i.payload.is_none()) {
            return Err("I-38: an item without what the submitter leaves".to_owned());
        }
        let phase = if items.iter().any(|i| i.class == Class::Convert) {
            Phase::Publish
        } else {
            Phase::Deliver
        };
        if !items.is_empty() {
            self.drainers.push(Drainer {
                inode,
                items,
                phase,
                owner,
            });
        }
        Ok(())
    }

    // ---- drainers ---------------------------------------------------------------------------

    fn drain_phase(&mut self, n: usize) -> Checked {
        let inode = self.drainers[n].inode;
        let items = self.drainers[n].items.clone();
        let convert = |class| class == Class::Convert;
        let write_of = |i: &crate::machine::Item<u8, u8>| usize::from(i.payload.unwrap_or(0));
        match self.drainers[n].phase {
            Phase::Publish => {
                for item in items.iter().filter(|i| convert(i.class)) {
                    let w = write_of(item);
                    if self.scenario.writes[w].requests.contains(&true) {
                        return Err(format!("I-32: failed write {w} is converted"));
                    }
                    if !self.scenario.writes[w].publish_fails {
                        self.writes[w].published += 1;
                    }
                }
                self.drainers[n].phase = Phase::Record;
            }
            Phase::Record => {
                for (at, item) in items.iter().enumerate() {
                    if !convert(item.class) {
                        continue;
                    }
                    let w = write_of(item);
                    let fails = self.scenario.writes[w].publish_fails;
                    let error = fails.then_some(w as u8);
                    if fails {
                        self.ghosts[inode].errors += 1;
                        self.drainers[n].items[at].error = error;
                    }
                    let slot = item.slot;
                    self.feed(
                        inode,
                        Event::Converted {
                            slot,
                            error,
                            stamp: 0,
                        },
                    );
                }
                self.drainers[n].phase = Phase::Deliver;
            }
            Phase::Deliver => {
                for item in &items {
                    let w = &mut self.writes[write_of(item)];
                    w.delivered += 1;
                    w.delivered_error = item.error.is_some();
                }
                self.drainers[n].phase = Phase::Settle;
            }
            Phase::Settle => self.settle(n),
        }
        Ok(())
    }

    fn settle(&mut self, n: usize) {
        let drainer = self.drainers.remove(n);
        let mut wake = false;
        for item in &drainer.items {
            let acked = self.inodes[drainer.inode].apply(Event::Acknowledged(item.slot));
            wake |= acked.wake;
            let w = &mut self.writes[usize::from(item.payload.unwrap_or(0))];
            w.in_flight = false;
            w.settled = true;
        }
        if wake {
            self.wake(drainer.inode);
        }
        if let Owner::Actor(a) = drainer.owner {
            match self.actors[a].pc {
                Pc::Working(inode) => {
                    self.feed(inode, Event::Leave { scheduled: true });
                    self.actors[a].pc = Pc::Start;
                }
                Pc::Helping(id) => self.actors[a].pc = Pc::Look(id),
                _ => {}
            }
        }
    }

    // ---- actors -----------------------------------------------------------------------------

    fn act(&mut self, n: usize) -> Checked {
        match self.actors[n].role.clone() {
            Role::Writer(w) => self.act_writer(n, w),
            Role::Plain { inode, range, now } => {
                let policy = if now { Policy::Now } else { Policy::Wait };
                match self.actors[n].pc {
                    Pc::Slot(slot) => {
                        self.feed(inode, Event::Release(slot));
                        self.actors[n].pc = Pc::Done;
                    }
                    _ => self.try_admit(n, inode, range, Intent::Overwrite, policy)?,
                }
                Ok(())
            }
            Role::Barrier { inode } => self.act_barrier(n, inode),
            Role::Drain {
                inode,
                range,
                exclusive,
                under,
            } => self.act_drain(n, inode, range, exclusive, under),
            Role::Worker => {
                let inode = self.ready.remove(0);
                let mut items = Vec::new();
                self.splice(inode, &mut items);
                if items.is_empty() {
                    self.feed(inode, Event::Leave { scheduled: true });
                    return Ok(());
                }
                self.actors[n].pc = Pc::Working(inode);
                self.start(inode, items, Owner::Actor(n))
            }
            Role::Abort { inode } => {
                self.feed(inode, Event::Abort(99));
                self.ghosts[inode].aborted = true;
                self.actors[n].pc = Pc::Done;
                Ok(())
            }
        }
    }

    /// One try to be admitted. Leaves the actor with its slot, in line, or done (refused).
    fn try_admit(
        &mut self,
        n: usize,
        inode: usize,
        range: std::ops::Range<u64>,
        intent: Intent,
        policy: Policy,
    ) -> Checked {
        let out = match self.actors[n].pc {
            Pc::Look(waiter) => self.feed(inode, Event::PollAdmission { waiter, stamp: 0 }),
            _ => self.feed(
                inode,
                Event::Admit {
                    range: range.clone(),
                    intent,
                    policy,
                    stamp: 0,
                },
            ),
        };
        let first_try = self.actors[n].pc == Pc::Start;
        self.actors[n].pc = match out {
            Outcome::Admitted(slot) => {
                self.check_held_off(inode, slot)?;
                Pc::Slot(slot)
            }
            // A newcomer looks once more before it sleeps.
            Outcome::Waiting(id) if first_try => Pc::Look(id),
            Outcome::Waiting(id) if self.help(n, inode, u64::MAX)? => Pc::Helping(id),
            Outcome::Waiting(id) => Pc::Asleep(id),
            _ => Pc::Done,
        };
        Ok(())
    }

    /// I-15: nobody who came after a waiting or held drain, and overlaps, is admitted before it.
    fn check_held_off(&self, inode: usize, slot: u32) -> Checked {
        let machine = &self.inodes[inode];
        let slot = machine.slots().get(slot);
        for actor in &self.actors {
            let Role::Drain {
                inode: on,
                range,
                exclusive: true,
                ..
            } = &actor.role
            else {
                continue;
            };
            let id = match actor.pc {
                Pc::Look(id) | Pc::Asleep(id) | Pc::Helping(id) | Pc::Held(id) => id,
                _ => continue,
            };
            if *on == inode && overlaps(range, &slot.range) && slot.id > id {
                return Err(format!("I-15: admission {} overtakes drain {id}", slot.id));
            }
        }
        Ok(())
    }

    fn act_writer(&mut self, n: usize, w: usize) -> Checked {
        let spec = self.scenario.writes[w].clone();
        match self.actors[n].pc {
            Pc::Slot(slot) if spec.requests.len() == 1 && spec.owed => {
                let event = Event::SubmittedWhole {
                    slot,
                    payload: w as u8,
                    owed: true,
                    stamp: 0,
                };
                self.feed(spec.inode, event);
                self.send(w, slot, spec.requests[0]);
                self.writes[w].submitted = true;
                self.actors[n].pc = Pc::Done;
            }
            Pc::Slot(slot) => {
                self.feed(spec.inode, Event::Begin { slot, stamp: 0 });
                self.actors[n].pc = Pc::Adding(slot, 0);
            }
            Pc::Adding(slot, added) if usize::from(added) < spec.requests.len() => {
                self.feed(spec.inode, Event::AddRequest(slot));
                self.send(w, slot, spec.requests[usize::from(added)]);
                self.actors[n].pc = Pc::Adding(slot, added + 1);
            }
            Pc::Adding(slot, _) => {
                self.writes[w].submitted = true;
                self.actors[n].pc = Pc::Done;
                let event = Event::Submitted {
                    slot,
                    payload: w as u8,
                    owed: spec.owed,
                    error: None,
                    inline: true,
                    stamp: 0,
                };
                return self.take_in(spec.inode, w, event, true);
            }
            _ => {
                self.try_admit(n, spec.inode, spec.range, Intent::Write, Policy::Wait)?;
                self.writes[w].in_flight = matches!(self.actors[n].pc, Pc::Slot(_));
            }
        }
        Ok(())
    }

    fn send(&mut self, write: usize, slot: u32, fails: bool) {
        self.requests.push(Request { write, slot, fails });
        self.requests.sort_unstable();
        self.writes[write].at_device += 1;
    }

    /// Splices what is queued below `below` for the actor to convert. True if there was anything.
    fn help(&mut self, n: usize, inode: usize, below: u64) -> Result<bool, String> {
        if self.inodes[inode].front_ticket().is_none_or(|t| t >= below) {
            return Ok(false);
        }
        let mut items = Vec::new();
        self.splice(inode, &mut items);
        self.start(inode, items, Owner::Actor(n))?;
        Ok(true)
    }

    fn act_barrier(&mut self, n: usize, inode: usize) -> Checked {
        let ticket = match self.actors[n].pc {
            Pc::Look(ticket) => ticket,
            _ => {
                if let Outcome::Ticket(ticket) = self.feed(inode, Event::Barrier) {
                    self.actors[n].owes = self.completed_on(inode);
                    self.actors[n].pc = Pc::Look(ticket);
                }
                return Ok(());
            }
        };
        if self.inodes[inode].watermark() < ticket {
            let helping = self.help(n, inode, ticket)?;
            self.actors[n].pc = if helping {
                Pc::Helping(ticket)
            } else {
                Pc::Asleep(ticket)
            };
            return Ok(());
        }
        for (w, ghost) in self.writes.iter().enumerate() {
            if self.actors[n].owes >> w & 1 != 0 && ghost.delivered == 0 {
                return Err(format!(
                    "I-13: barrier returned before write {w} was delivered"
                ));
            }
        }
        self.learn(n, inode)?;
        self.actors[n].pc = Pc::Done;
        Ok(())
    }

    /// The writes of an inode that have completed and went through the list.
    fn completed_on(&self, inode: usize) -> u16 {
        let mut set = 0;
        for (w, ghost) in self.writes.iter().enumerate() {
            if self.inode_of(w) == inode && ghost.ticket.is_some() {
                set |= 1 << w;
            }
        }
        set
    }

    /// I-35: an observer learns of errors it has not seen, once.
    fn learn(&mut self, n: usize, inode: usize) -> Checked {
        for round in 0..2 {
            let cursor = self.actors[n].cursor;
            let expected = round == 0 && self.ghosts[inode].errors > cursor;
            let Outcome::Learned(cursor, error) = self.feed(inode, Event::Learn { cursor }) else {
                return Err("no answer to Learn".to_owned());
            };
            if error.is_some() != expected {
                return Err(format!(
                    "I-35: check {round} told {error:?}, {} errors recorded",
                    self.ghosts[inode].errors
                ));
            }
            self.actors[n].cursor = cursor;
        }
        Ok(())
    }

    fn act_drain(
        &mut self,
        n: usize,
        inode: usize,
        range: std::ops::Range<u64>,
        exclusive: bool,
        under: bool,
    ) -> Checked {
        match self.actors[n].pc {
            Pc::Start => {
                let event = Event::Drain {
                    range: range.clone(),
                    exclusive,
                };
                if let Outcome::Waiting(id) = self.feed(inode, event) {
                    self.actors[n].owes = self.overlapping(inode, &range);
                    self.actors[n].pc = Pc::Look(id);
                }
            }
            Pc::Look(id) => {
                if self.feed(inode, Event::PollDrain(id)) == Outcome::Granted {
                    self.check_drained(n)?;
                    self.learn(n, inode)?;
                    self.actors[n].pc = Pc::Held(id);
                } else {
                    let helping = self.help(n, inode, u64::MAX)?;
                    self.actors[n].pc = if helping {
                        Pc::Helping(id)
                    } else {
                        Pc::Asleep(id)
                    };
                }
            }
            Pc::Held(id) if under => {
                let event = Event::Admit {
                    range,
                    intent: Intent::Overwrite,
                    policy: Policy::Under,
                    stamp: 0,
                };
                match self.feed(inode, event) {
                    Outcome::Admitted(slot) => self.actors[n].pc = Pc::HeldSlot(id, slot),
                    Outcome::Refused(_) => self.end_drain(n, inode, id),
                    other => return Err(format!("under a drain with room: {other:?}")),
                }
            }
            Pc::Held(id) => self.end_drain(n, inode, id),
            // The drain ends first: whoever drains next must wait for the slot.
            Pc::HeldSlot(id, slot) => {
                self.feed(inode, Event::EndDrain(id));
                self.actors[n].pc = Pc::Slot(slot);
            }
            Pc::Slot(slot) => {
                self.feed(inode, Event::Release(slot));
                self.actors[n].pc = Pc::Done;
            }
            _ => {}
        }
        Ok(())
    }

    fn end_drain(&mut self, n: usize, inode: usize, id: u64) {
        self.feed(inode, Event::EndDrain(id));
        self.actors[n].pc = Pc::Done;
    }

    fn overlapping(&self, inode: usize, range: &std::ops::Range<u64>) -> u16 {
        let mut set = 0;
        for (w, ghost) in self.writes.iter().enumerate() {
            let spec = &self.scenario.writes[w];
            if spec.inode == inode && ghost.in_flight && overlaps(&spec.range, range) {
                set |= 1 << w;
            }
        }
        set
    }

    /// I-14: what was in flight in the range when the drain was called is over.
    fn check_drained(&self, n: usize) -> Checked {
        for (w, ghost) in self.writes.iter().enumerate() {
            if self.actors[n].owes >> w & 1 != 0 && ghost.delivered == 0 {
                return Err(format!(
                    "I-14: drain granted before write {w} was delivered"
                ));
            }
        }
        Ok(())
    }

    /// For the checks.
    pub(super) fn machine(&self, inode: usize) -> &Machine {
        &self.inodes[inode]
    }
}
