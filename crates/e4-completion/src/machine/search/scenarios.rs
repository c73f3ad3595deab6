//! The scenarios, and the planted bugs they must find.

use super::bfs::{Report, search};
use super::world::{Role, Scenario, World, WriteSpec};
use crate::machine::mutant::Mutant;
use std::ops::Range;

fn write(inode: usize, range: Range<u64>, requests: &'static [bool]) -> WriteSpec {
    WriteSpec {
        inode,
        range,
        requests,
        owed: true,
        publish_fails: false,
    }
}

fn drain(inode: usize, range: Range<u64>) -> Role {
    Role::Drain {
        inode,
        range,
        exclusive: true,
        under: false,
    }
}

fn scenario(name: &'static str, writes: Vec<WriteSpec>, mut others: Vec<Role>) -> Scenario {
    let mut roles: Vec<Role> = (0..writes.len()).map(Role::Writer).collect();
    roles.append(&mut others);
    Scenario {
        name,
        writes,
        roles,
        limit: 4,
        turn: 2,
        inline: true,
        collect: true,
    }
}

/// Everything at once on two inodes: failures, a barrier, a truncate, an eviction, a worker.
/// Completions come both ways only in the long run; here they are collected.
fn two_inodes() -> Scenario {
    let mut s = two_inodes_both_ways();
    s.name = "two inodes";
    s.inline = false;
    s
}

fn two_inodes_both_ways() -> Scenario {
    scenario(
        "both ways",
        vec![
            write(0, 0..4, &[false]),
            write(0, 2..8, &[true]),
            write(1, 0..4, &[false]),
        ],
        vec![
            Role::Barrier { inode: 0 },
            drain(0, 3..6),
            drain(1, 0..u64::MAX),
            Role::Worker,
        ],
    )
}

/// Barriers against writes with several requests, with and without a worker.
fn barriers(worker: bool) -> Scenario {
    let mut others = vec![Role::Barrier { inode: 0 }, Role::Barrier { inode: 0 }];
    if worker {
        others.push(Role::Worker);
    }
    let writes = vec![
        write(0, 0..4, &[false, false]),
        write(0, 4..8, &[false, true]),
    ];
    scenario("barriers", writes, others)
}

/// Conversion errors, seen by a barrier, a truncate and the writer, each once.
fn conversion_fails() -> Scenario {
    let mut failing = write(0, 0..4, &[false]);
    failing.publish_fails = true;
    let others = vec![
        Role::Barrier { inode: 0 },
        Role::Barrier { inode: 0 },
        drain(0, 0..8),
        Role::Worker,
    ];
    scenario(
        "conversion fails",
        vec![failing, write(0, 4..8, &[false])],
        others,
    )
}

/// Two drains, a reader and writers that keep coming, with only two slots.
fn crowded() -> Scenario {
    let mut s = scenario(
        "crowded",
        vec![write(0, 0..4, &[false]), write(0, 2..6, &[false])],
        vec![
            drain(0, 0..4),
            Role::Drain {
                inode: 0,
                range: 2..8,
                exclusive: true,
                under: false,
            },
            Role::Plain {
                inode: 0,
                range: 3..5,
                now: false,
            },
            Role::Plain {
                inode: 0,
                range: 0..8,
                now: true,
            },
        ],
    );
    s.limit = 2;
    s.collect = false;
    s
}

/// A truncate that writes zeros under its drain, another truncate behind it, a shared drain.
fn under_a_drain() -> Scenario {
    let mut s = scenario(
        "under a drain",
        vec![write(0, 0..4, &[false])],
        vec![
            Role::Drain {
                inode: 0,
                range: 0..4,
                exclusive: true,
                under: true,
            },
            drain(0, 2..6),
            Role::Drain {
                inode: 0,
                range: 0..8,
                exclusive: false,
                under: false,
            },
            Role::Plain {
                inode: 0,
                range: 3..5,
                now: false,
            },
        ],
    );
    s.collect = false;
    s
}

/// No worker at all and completions that may only be collected: waiters convert (I-19).
fn no_worker() -> Scenario {
    let mut s = scenario(
        "no worker",
        vec![write(0, 0..4, &[false]), write(0, 4..8, &[false])],
        vec![Role::Barrier { inode: 0 }, drain(0, 0..9), drain(0, 6..9)],
    );
    s.inline = false;
    s.turn = 1;
    s
}

/// An abort while writes are in every stage and somebody waits.
fn abort() -> Scenario {
    let mut s = scenario(
        "abort",
        vec![write(0, 0..4, &[false]), write(0, 0..4, &[false])],
        vec![
            Role::Abort { inode: 0 },
            drain(0, 0..4),
            Role::Barrier { inode: 0 },
            Role::Worker,
        ],
    );
    s.limit = 1;
    s
}

/// Writes that owe nothing, or nothing at all (S27), among others.
fn nothing_owed() -> Scenario {
    let mut finish = write(0, 0..4, &[false, false]);
    finish.owed = false;
    let mut empty = write(0, 4..4, &[]);
    empty.owed = false;
    let others = vec![Role::Barrier { inode: 0 }, drain(0, 0..8), Role::Worker];
    scenario(
        "nothing owed",
        vec![finish, empty, write(0, 2..6, &[false])],
        others,
    )
}

fn all() -> Vec<Scenario> {
    vec![
        two_inodes(),
        barriers(true),
        conversion_fails(),
        crowded(),
        under_a_drain(),
        no_worker(),
        abort(),
        nothing_owed(),
    ]
}

fn run(scenario: Scenario, mutant: Mutant) -> Report {
    search(World::new(scenario, mutant))
}

#[test]
fn every_interleaving_keeps_every_invariant() {
    must_hold(all());
}

/// Two to three million states: minutes.
#[test]
#[ignore = "takes minutes; run with --release -- --ignored"]
fn every_interleaving_the_long_run() {
    must_hold(vec![two_inodes_both_ways()]);
}

fn must_hold(scenarios: Vec<Scenario>) {
    let mut total = 0;
    for scenario in scenarios {
        let name = scenario.name;
        let report = run(scenario, Mutant::None);
        println!(
            "search {name:<18} {:>8} states {:>9} steps {:>6} ends",
            report.states, report.steps, report.ends
        );
        total += report.states;
        if let Some((what, steps)) = report.violation {
            panic!("{name}: {what}\n  {}", steps.join("\n  "));
        }
    }
    println!("search: {total} states in all");
}

#[test]
fn every_planted_bug_is_found() {
    for mutant in Mutant::ALL {
        let found = all().into_iter().find_map(|scenario| {
            let name = scenario.name;
            let report = run(scenario, mutant);
            report.violation.map(|v| (name, report.states, v))
        });
        match found {
            Some((name, states, (what, steps))) => println!(
                "planted {mutant:?}: found in {name:?} after {states} states, {} steps: {what}",
                steps.len()
            ),
            None => panic!("planted bug {mutant:?} was not found"),
        }
    }
}
