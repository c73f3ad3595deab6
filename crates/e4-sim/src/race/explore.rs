//! Finds what a case can do wrong: breadth-first over every interleaving (shortest trace), or one
//! random walk from a seed (what a stress test would see).

use super::case::Case;
use super::op::{Op, Ran};
use super::world::World;
use std::collections::{HashMap, HashSet, VecDeque};

/// What went wrong, and how to repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The violated invariant.
    pub what: &'static str,
    /// "actor: step", in order.
    pub steps: Vec<String>,
    /// States or walks looked at.
    pub effort: usize,
}

/// How one actor's attempt went.
enum Attempt {
    /// It is done or blocked.
    No,
    Moved(World),
    Broke(&'static str),
}

fn attempt(case: &Case, world: &World, actor: usize) -> Attempt {
    let pc = world.actors[actor].pc;
    let Some(&op) = case.actors[actor].program.get(pc) else {
        return Attempt::No;
    };
    if !world.enabled(op) {
        return Attempt::No;
    }
    let mut next = world.clone();
    match next.run(op, actor, case.targets) {
        Ran::Next => next.actors[actor].pc += 1,
        Ran::Spins => {}
        Ran::Jump(to) => next.actors[actor].pc = to,
        Ran::Leaves => next.actors[actor].pc = case.actors[actor].program.len(),
        Ran::Broke(what) => return Attempt::Broke(what),
    }
    Attempt::Moved(next)
}

fn label(case: &Case, world: &World, actor: usize) -> String {
    let op = case.actors[actor].program.get(world.actors[actor].pc);
    let name = case.actors[actor].name;
    op.map_or_else(|| format!("{name}: -"), |op| format!("{name}: {op:?}"))
}

/// The world after the case's prefix. A prefix that cannot be walked is a bug of the case.
fn start(case: &Case) -> Result<(World, Vec<String>), Found> {
    let mut world = (case.world)(case.actors.len());
    let mut steps = Vec::new();
    for &actor in case.prefix {
        steps.push(label(case, &world, actor));
        match attempt(case, &world, actor) {
            Attempt::Moved(next) => world = next,
            Attempt::Broke(what) => {
                return Err(Found {
                    what,
                    steps,
                    effort: 1,
                });
            }
            Attempt::No => {
                return Err(Found {
                    what: "the prefix of the case cannot be walked",
                    steps,
                    effort: 1,
                });
            }
        }
    }
    Ok((world, steps))
}

/// True if the actor has steps left and may be left waiting at the end.
fn unfinished(case: &Case, world: &World, actor: usize) -> bool {
    let program = &case.actors[actor].program;
    let pc = world.actors[actor].pc;
    // A worker that waits for work is not stuck, and an endless submitter never ends.
    let idle = program.get(pc) == Some(&Op::WaitList);
    pc < program.len() && !idle && !program.contains(&Op::Again)
}

/// Every interleaving. `Ok` is the number of states visited.
pub(super) fn every(case: &Case) -> Result<usize, Found> {
    let (root, prefix) = start(case)?;
    let mut ids: HashMap<World, usize> = HashMap::from([(root.clone(), 0)]);
    let mut worlds = vec![root];
    let mut parents: Vec<(usize, usize)> = vec![(0, usize::MAX)];
    let mut edges: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut queue = VecDeque::from([0]);
    let trace = |worlds: &[World], parents: &[(usize, usize)], mut at: usize| {
        let mut steps = Vec::new();
        while at != 0 {
            let (parent, actor) = parents[at];
            steps.push(label(case, &worlds[parent], actor));
            at = parent;
        }
        steps.reverse();
        prefix.iter().cloned().chain(steps).collect::<Vec<_>>()
    };
    while let Some(here) = queue.pop_front() {
        let world = worlds[here].clone();
        let mut moved = false;
        let mut out = Vec::new();
        for actor in 0..case.actors.len() {
            match attempt(case, &world, actor) {
                Attempt::No => {}
                Attempt::Broke(what) => {
                    let mut steps = trace(&worlds, &parents, here);
                    steps.push(label(case, &world, actor));
                    let effort = worlds.len();
                    return Err(Found {
                        what,
                        steps,
                        effort,
                    });
                }
                Attempt::Moved(next) => {
                    moved |= next != world;
                    let fresh = worlds.len();
                    let there = *ids.entry(next.clone()).or_insert(fresh);
                    if there == fresh {
                        worlds.push(next);
                        parents.push((here, actor));
                        queue.push_back(there);
                    }
                    out.push((actor, there));
                }
            }
        }
        let stuck = (0..case.actors.len()).any(|a| unfinished(case, &world, a));
        if !moved && stuck {
            let spinning = !out.is_empty();
            return Err(Found {
                what: if spinning {
                    "I-17: livelock: one spins for ever, the other waits for it"
                } else {
                    "deadlock: nobody can go on"
                },
                steps: trace(&worlds, &parents, here),
                effort: worlds.len(),
            });
        }
        edges.push(out);
    }
    if let Some(at) = starved(case, &worlds, &edges) {
        return Err(Found {
            what: "I-15: the barrier waits for ever while others keep coming",
            steps: trace(&worlds, &parents, at),
            effort: worlds.len(),
        });
    }
    Ok(worlds.len())
}

/// A reachable cycle in which others move and the case's waiter has work left but can never take
/// a step.
fn starved(case: &Case, worlds: &[World], edges: &[Vec<(usize, usize)>]) -> Option<usize> {
    let waiter = case.waiter?;
    let waits: Vec<bool> = worlds
        .iter()
        .map(|w| unfinished(case, w, waiter) && matches!(attempt(case, w, waiter), Attempt::No))
        .collect();
    // A state lies on or leads into such a cycle if it never gets peeled off.
    let mut alive: HashSet<usize> = (0..worlds.len()).filter(|&s| waits[s]).collect();
    loop {
        let dead: Vec<usize> = alive
            .iter()
            .copied()
            .filter(|&s| {
                !edges[s]
                    .iter()
                    .any(|(_, to)| *to != s && alive.contains(to))
            })
            .collect();
        if dead.is_empty() {
            return alive.into_iter().min();
        }
        for s in dead {
            alive.remove(&s);
        }
    }
}

/// Random walks from `seed` until one goes wrong, at most `walks` of them.
pub(super) fn walk(case: &Case, seed: u64, walks: usize) -> Option<Found> {
    let (root, prefix) = match start(case) {
        Ok(start) => start,
        Err(found) => return Some(found),
    };
    let mut random = crate::Rng::new(seed);
    for effort in 1..=walks {
        let mut world = root.clone();
        let mut steps = prefix.clone();
        let mut spins = 0;
        for _ in 0..200 {
            let actors = case.actors.len();
            let first = random.below(actors as u64) as usize;
            let mut next = None;
            for actor in (0..actors).map(|i| (first + i) % actors) {
                match attempt(case, &world, actor) {
                    Attempt::No => {}
                    Attempt::Broke(what) => {
                        steps.push(label(case, &world, actor));
                        return Some(Found {
                            what,
                            steps,
                            effort,
                        });
                    }
                    Attempt::Moved(to) => {
                        steps.push(label(case, &world, actor));
                        next = Some(to);
                        break;
                    }
                }
            }
            match next {
                Some(to) if to == world => spins += 1,
                Some(to) => {
                    spins = 0;
                    world = to;
                }
                None => break,
            }
            if spins > 20 {
                break;
            }
        }
        let stuck = (0..case.actors.len()).any(|a| unfinished(case, &world, a));
        if stuck {
            // Whether it is a deadlock, a livelock or starvation is for the full search to say.
            return every(case).err().map(|found| Found { effort, ..found });
        }
    }
    None
}
