//! The search itself: breadth first, so the first counterexample is a shortest one.

use super::check;
use super::world::World;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};

/// Two independent 64-bit lanes; collisions are out of reach for the millions of states here.
#[derive(Default)]
struct Print {
    a: u64,
    b: u64,
}

impl Hasher for Print {
    fn finish(&self) -> u64 {
        self.a
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.a = (self.a.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        self.b = (self.b.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.b >> 31;
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte) | 0xa00);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word) | 0xb << 40);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64 | 0xc << 44);
    }
}

fn print(world: &World) -> u128 {
    let mut p = Print::default();
    world.hash(&mut p);
    u128::from(p.a) << 64 | u128::from(p.b)
}

/// What a search found.
pub(super) struct Report {
    pub states: usize,
    pub steps: usize,
    pub ends: usize,
    /// The violated invariant and the steps that lead to it.
    pub violation: Option<(String, Vec<String>)>,
}

/// Visits every reachable state, up to the first violation.
pub(super) fn search(start: World) -> Report {
    let mut report = Report {
        states: 1,
        steps: 0,
        ends: 0,
        violation: None,
    };
    let mut parents: HashMap<u128, (u128, u16)> = HashMap::new();
    let root = print(&start);
    parents.insert(root, (root, u16::MAX));
    let mut queue = VecDeque::from([(root, start.clone())]);
    while let Some((here, world)) = queue.pop_front() {
        let choices = world.choices();
        if choices.is_empty() {
            report.ends += 1;
            if let Err(what) = check::end(&world) {
                report.violation = Some((what, trace(&start, &parents, here, None)));
                return report;
            }
        }
        for choice in 0..choices.len() as u16 {
            report.steps += 1;
            let mut next = world.clone();
            let taken = next.take(&choices[usize::from(choice)]);
            if let Err(what) = taken.and_then(|()| check::state(&next)) {
                report.violation = Some((what, trace(&start, &parents, here, Some(choice))));
                return report;
            }
            let there = print(&next);
            if let std::collections::hash_map::Entry::Vacant(entry) = parents.entry(there) {
                entry.insert((here, choice));
                report.states += 1;
                queue.push_back((there, next));
            }
        }
    }
    report
}

/// The steps from the start to `here`, and then `last`.
fn trace(
    start: &World,
    parents: &HashMap<u128, (u128, u16)>,
    mut here: u128,
    last: Option<u16>,
) -> Vec<String> {
    let mut path: Vec<u16> = last.into_iter().collect();
    while let Some(&(parent, choice)) = parents.get(&here) {
        if choice == u16::MAX {
            break;
        }
        path.push(choice);
        here = parent;
    }
    let mut world = start.clone();
    let mut out = Vec::new();
    for choice in path.into_iter().rev() {
        let choices = world.choices();
        let step = &choices[usize::from(choice)];
        out.push(format!("{step:?}"));
        if world.take(step).is_err() {
            break;
        }
    }
    out
}
