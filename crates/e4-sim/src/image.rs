//! Device contents as a map of shared pages: cheap to clone, copied page by page on write.

use crate::fill::Fill;
use e4_sync::Arc;
use hashbrown::HashMap;

pub(crate) const PAGE: usize = 4096;
pub(crate) type Page = [u8; PAGE];

/// The contents of a device. Pages never written hold the fill.
#[derive(Clone)]
pub(crate) struct Image {
    size: u64,
    fill: Fill,
    pages: HashMap<u64, Arc<Page>>,
}

impl Image {
    pub(crate) fn new(size: u64, fill: Fill) -> Image {
        Image {
            size,
            fill,
            pages: HashMap::new(),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn fill(&self) -> Fill {
        self.fill
    }

    /// Copies a page out of the image.
    pub(crate) fn copy_page(&self, page: u64, out: &mut Page) {
        match self.pages.get(&page) {
            Some(bytes) => out.copy_from_slice(&bytes[..]),
            None => self.fill.read(page * PAGE as u64, out),
        }
    }

    pub(crate) fn read(&self, at: u64, mut buf: &mut [u8]) {
        for (page, start, len) in pieces(at, buf.len()) {
            let (part, rest) = buf.split_at_mut(len);
            buf = rest;
            match self.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[start..start + len]),
                None => self.fill.read(page * PAGE as u64 + start as u64, part),
            }
        }
    }

    pub(crate) fn write(&mut self, at: u64, mut data: &[u8]) {
        for (page, start, len) in pieces(at, data.len()) {
            let (part, rest) = data.split_at(len);
            data = rest;
            let bytes = self.page_mut(page);
            bytes[start..start + len].copy_from_slice(part);
        }
    }

    /// Puts the fill back.
    pub(crate) fn refill(&mut self, at: u64, len: u64) {
        let end = at + len;
        let (first, last) = (at.div_ceil(PAGE as u64), end / PAGE as u64);
        if first < last {
            // Walks the pages that exist: the range may be the whole of a huge device.
            self.pages.retain(|page, _| !(first..last).contains(page));
        }
        for (from, to) in edges(at, end) {
            let mut bytes = vec![0; (to - from) as usize];
            self.fill.read(from, &mut bytes);
            self.write(from, &bytes);
        }
    }

    fn page_mut(&mut self, page: u64) -> &mut Page {
        let fill = self.fill;
        let shared = self.pages.entry(page).or_insert_with(|| {
            let mut fresh = [0; PAGE];
            fill.read(page * PAGE as u64, &mut fresh);
            Arc::new(fresh)
        });
        Arc::make_mut(shared)
    }

    pub(crate) fn set_page(&mut self, page: u64, bytes: &Page) {
        self.pages.insert(page, Arc::new(*bytes));
    }

    /// A page's part in the fingerprint of the image.
    pub(crate) fn hash_of(&self, page: u64) -> u64 {
        let mut bytes = [0; PAGE];
        self.copy_page(page, &mut bytes);
        page_hash(page, &bytes)
    }

    /// The same for every page of a byte range, combined.
    pub(crate) fn hash_range(&self, at: u64, len: u64) -> u64 {
        let pages = at / PAGE as u64..(at + len).div_ceil(PAGE as u64);
        pages.fold(0, |all, page| all ^ self.hash_of(page))
    }

    /// The numbers of the pages that were written, in order.
    pub(crate) fn written(&self) -> Vec<u64> {
        let mut pages: Vec<u64> = self.pages.keys().copied().collect();
        pages.sort_unstable();
        pages
    }
}

/// A page's part in a fingerprint of contents.
pub(crate) fn page_hash(page: u64, bytes: &Page) -> u64 {
    const K: u64 = 0x9fb2_1c65_1e98_df25;
    let mut lanes = [page, !page, K, page.rotate_left(32)];
    for words in bytes.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(words.chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            *lane = (*lane ^ word).wrapping_mul(K);
            *lane ^= *lane >> 29;
        }
    }
    let mix = |all: u64, lane: &u64| crate::rng::mix(all ^ lane);
    lanes.iter().fold(0, mix)
}

/// The parts of `at..end` that do not fill a page: at most two.
pub(crate) fn edges(at: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let page = PAGE as u64;
    let (inner, outer) = (at.next_multiple_of(page), end / page * page);
    let parts = if inner > outer {
        [(at, end), (0, 0)] // inside one page
    } else {
        [(at, inner), (outer, end)]
    };
    parts.into_iter().filter(|(from, to)| from < to)
}

/// Cuts a byte range at page borders: (page, first byte in it, bytes).
pub(crate) fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = at;
    let mut left = len;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let (page, start) = (at / PAGE as u64, (at % PAGE as u64) as usize);
        let part = left.min(PAGE - start);
        at += part as u64;
        left -= part;
        Some((page, start, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Against a plain array, random operations, with a clone that must not see later writes.
    #[test]
    fn behaves_like_an_array() {
        const SIZE: u64 = 64 << 10;
        let mut blank = vec![0; SIZE as usize];
        Fill::Poison.read(0, &mut blank);
        let (mut image, mut model) = (Image::new(SIZE, Fill::Poison), blank.clone());
        let mut rng = Rng::new(11);
        let mut clones = Vec::new();
        for step in 0..400 {
            let at = rng.below(SIZE);
            let len = rng.below((SIZE - at).min(10_000)) as usize;
            let range = at as usize..at as usize + len;
            if rng.chance(1, 5) {
                image.refill(at, len as u64);
                model[range.clone()].copy_from_slice(&blank[range.clone()]);
            } else {
                let mut data = vec![0; len];
                rng.fill(&mut data);
                image.write(at, &data);
                model[range.clone()].copy_from_slice(&data);
            }
            let mut back = vec![0; len];
            image.read(at, &mut back);
            assert!(back == model[range], "step {step}");
            if step % 100 == 0 {
                clones.push((image.clone(), model.clone()));
            }
        }
        clones.push((image, model));
        for (image, model) in clones {
            let mut all = vec![0; SIZE as usize];
            image.read(0, &mut all);
            assert!(all == model);
        }
    }
}
