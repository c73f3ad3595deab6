//! How many nodes a list of entries goes into, and how many entries each gets.
//!
//! Decisions:
//! - A node that overflows is split into nodes about three quarters full ([`fill`]), evenly: the next
//!   random change finds room. Over nodes that overflow by e entries together this allocates no more
//!   than one node each plus `e / h` with `h = c/2 - 1` (see `credits.rs`).
//! - An insertion at the right (left) end splits off only what does not fit, so files that grow
//!   sequentially have full nodes.
//! - Neighbouring nodes that together fill no more than [`fill`] become one: split and merge points
//!   are a quarter of a node apart, so alternating changes do not thrash.

use smallvec::{SmallVec, smallvec};

/// Entries per node of one group.
pub(crate) type Sizes = SmallVec<[usize; 8]>;

/// Entries a freshly split node gets, and the most that merged nodes hold: 3/4 of the capacity.
pub(crate) const fn fill(capacity: usize) -> usize {
    (capacity * 3).div_ceil(4)
}

/// A changed node with no more entries than this looks at its neighbours: 1/4 of the capacity.
pub(crate) const fn sparse(capacity: usize) -> usize {
    let quarter = capacity / 4;
    if quarter == 0 { 1 } else { quarter }
}

/// Where in a node the entries were added that made it overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Growth {
    /// At the left end.
    Front,
    /// Anywhere.
    Spread,
    /// At the right end.
    Back,
}

/// Sizes of the nodes that take `entries` entries. Empty for none.
pub(crate) fn pack(entries: usize, capacity: usize, growth: Growth) -> Sizes {
    debug_assert!(capacity > 1, "a node must hold two entries to be split");
    if entries == 0 {
        return Sizes::new();
    }
    if entries <= capacity {
        return smallvec![entries];
    }
    match growth {
        Growth::Spread => even(entries, entries.div_ceil(fill(capacity))),
        Growth::Back | Growth::Front => {
            let mut sizes: Sizes = smallvec![capacity; entries / capacity];
            let rest = entries % capacity;
            if rest > 0 {
                sizes.push(rest);
            }
            if growth == Growth::Front {
                sizes.reverse();
            }
            sizes
        }
    }
}

/// `entries` over `nodes` nodes, the first ones one larger if it does not divide.
pub(crate) fn even(entries: usize, nodes: usize) -> Sizes {
    let nodes = nodes.clamp(1, entries.max(1));
    let (each, larger) = (entries / nodes, entries % nodes);
    (0..nodes).map(|i| each + usize::from(i < larger)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_add_up_and_fit_and_allocate_within_the_bound() {
        for capacity in 3..90_usize {
            let h = (capacity / 2).saturating_sub(1).max(1);
            for extra in 0..6 * capacity {
                for growth in [Growth::Front, Growth::Spread, Growth::Back] {
                    for old in [1, capacity / 2, capacity] {
                        let sizes = pack(old + extra, capacity, growth);
                        assert_eq!(sizes.iter().sum::<usize>(), old + extra);
                        assert!(sizes.iter().all(|&s| (1..=capacity).contains(&s)));
                        let new = sizes.len() - 1;
                        assert!(new <= usize::from(extra > 0) + extra / h);
                    }
                }
            }
        }
    }

    #[test]
    fn split_nodes_do_not_merge_again() {
        for capacity in 3..400_usize {
            let sizes = pack(capacity + 1, capacity, Growth::Spread);
            assert!(sizes.windows(2).all(|w| w[0] + w[1] > fill(capacity)));
        }
    }
}
