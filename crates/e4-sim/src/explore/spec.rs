//! The parameters of an exploration as one line of text: what a failure prints, and what repeats it.
//!
//! `seed=7,ops=90,bs=1024,size=8,files=2,blocks=32,depth=4,names=1,buffered=1,features=0,cut=97,keep=3.4.17`; what is left
//! out is as in [`Params::small`]. Sizes in MiB; features by their number; the kept steps joined by dots.

use super::Params;

/// Changes to the features of `mke2fs -t ext4` that are explored.
pub(super) const FEATURES: [&str; 7] = [
    "",
    "^orphan_file",
    "^metadata_csum",
    "^64bit",
    "^metadata_csum,^64bit,uninit_bg",
    "^extent,^64bit",
    // What ext3 has.
    "^extent,^64bit,^metadata_csum,^orphan_file,^flex_bg,^huge_file",
];

/// Why a text describes no exploration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: not a part of an exploration's description")]
pub struct SpecError {
    what: String,
}

impl core::fmt::Display for Params {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let features = FEATURES.iter().position(|x| *x == self.features);
        write!(
            f,
            "seed={},ops={},bs={},size={},files={},blocks={},depth={},names={},buffered={},features={},cut={}",
            self.seed,
            self.operations,
            self.block_size,
            self.size >> 20,
            self.files,
            self.file_blocks,
            self.depth,
            u8::from(self.names),
            u8::from(self.buffered),
            features.unwrap_or(0),
            self.cut_recovery_every,
        )?;
        if let Some(keep) = &self.keep {
            let steps: Vec<String> = keep.iter().map(u32::to_string).collect();
            write!(f, ",keep={}", steps.join("."))?;
        }
        Ok(())
    }
}

impl core::str::FromStr for Params {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Params, SpecError> {
        let mut params = Params::small(1);
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let bad = || SpecError {
                what: part.to_owned(),
            };
            let (key, value) = part.split_once('=').ok_or_else(bad)?;
            let number = || value.parse::<u64>().map_err(|_| bad());
            match key {
                "seed" => params.seed = number()?,
                "ops" => params.operations = number()? as usize,
                "bs" => params.block_size = number()? as u32,
                "size" => params.size = number()? << 20,
                "files" => params.files = number()?,
                "blocks" => params.file_blocks = number()?,
                "depth" => params.depth = number()? as usize,
                "names" => params.names = number()? != 0,
                "buffered" => params.buffered = number()? != 0,
                "cut" => params.cut_recovery_every = number()?,
                "features" => {
                    let known = FEATURES.get(number()? as usize);
                    params.features = known.copied().ok_or_else(bad)?;
                }
                "keep" => {
                    let steps = value
                        .split('.')
                        .filter(|step| !value.is_empty() || !step.is_empty());
                    let steps = steps.map(str::parse);
                    let steps: Result<Vec<u32>, _> = steps.collect();
                    params.keep = Some(steps.map_err(|_| bad())?);
                }
                _ => return Err(bad()),
            }
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::Params;

    #[test]
    fn what_is_printed_can_be_read() {
        for seed in 0..60 {
            let mut params = Params::varied(seed);
            match seed % 3 {
                0 => params.keep = Some(vec![1, 5, seed as u32]),
                1 => params.keep = Some(Vec::new()),
                _ => {}
            }
            assert_eq!(params.to_string().parse::<Params>(), Ok(params));
        }
        for wrong in ["seed", "seed=x", "colour=1", "keep=1..2", "features=99"] {
            assert!(wrong.parse::<Params>().is_err(), "{wrong}");
        }
    }
}
