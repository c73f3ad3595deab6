//! An OCI image layout on disk: which layers an image has, lowest first.
//!
//! Decisions: only what is needed of the three JSON files is read; a blob is used only if its SHA-256 is what it is
//! named by; names of blobs are checked before they become paths.

use crate::error::BuildError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest JSON file accepted, bytes.
const MAX_JSON: u64 = 4 << 20;
/// Indexes inside indexes.
const MAX_NESTING: u32 = 4;
const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

/// The files of the layers of the image called `reference`, or of the only one (for this machine's architecture, if
/// there are several).
pub(crate) fn layers(layout: &Path, reference: Option<&str>) -> Result<Vec<PathBuf>, BuildError> {
    let mut index: Index = json(layout, &layout.join("index.json"))?;
    let wrong = |why: String| BuildError::Oci {
        path: layout.display().to_string(),
        why,
    };
    if let Some(name) = reference {
        index
            .manifests
            .retain(|m| m.annotations.get(REF_NAME).is_some_and(|n| n == name));
    }
    for _ in 0..MAX_NESTING {
        let chosen = choose(&index.manifests).map_err(wrong)?;
        let path = blob(layout, &chosen)?;
        if !chosen.media_type.contains("index") && !chosen.media_type.contains("manifest.list") {
            let manifest: Manifest = json(layout, &path)?;
            return manifest.layers.iter().map(|l| blob(layout, l)).collect();
        }
        index = json(layout, &path)?;
    }
    Err(wrong("indexes inside indexes without end".to_owned()))
}

fn choose(list: &[Descriptor]) -> Result<Descriptor, String> {
    match list {
        [] => return Err("no image of that name".to_owned()),
        [one] => return Ok(one.clone()),
        _ => {}
    }
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |d: &&Descriptor| {
        d.platform
            .as_ref()
            .is_some_and(|p| p.os == "linux" && p.architecture == here)
    };
    let mut fitting = list.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.clone()),
        _ => {
            let names = list.iter().filter_map(|d| d.annotations.get(REF_NAME));
            let names: Vec<&str> = names.map(String::as_str).collect();
            Err(format!(
                "{} images; say which one as oci:DIR:NAME ({})",
                list.len(),
                names.join(", ")
            ))
        }
    }
}

fn json<T: DeserializeOwned>(layout: &Path, path: &Path) -> Result<T, BuildError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|f| f.take(MAX_JSON).read_to_end(&mut bytes))
        .map_err(|e| BuildError::host(path, "reading", e))?;
    serde_json::from_slice(&bytes).map_err(|e| BuildError::Oci {
        path: layout.display().to_string(),
        why: format!("{}: {e}", path.display()),
    })
}

/// The file of a blob, verified.
fn blob(layout: &Path, descriptor: &Descriptor) -> Result<PathBuf, BuildError> {
    let wrong = |why: &str| BuildError::Oci {
        path: layout.display().to_string(),
        why: format!("blob {:?}: {why}", descriptor.digest),
    };
    let hex = descriptor.digest.strip_prefix("sha256:");
    let hex = hex.ok_or_else(|| wrong("only sha256 is supported"))?;
    let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if hex.len() != 64 || !hex.bytes().all(plain) {
        return Err(wrong("no digest"));
    }
    let path = layout.join("blobs/sha256").join(hex);
    let failed = |e| BuildError::host(&path, "reading", e);
    let mut file = File::open(&path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        hash.update(buffer.get(..n).unwrap_or_default());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let found: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    if found != hex {
        return Err(wrong("its contents have another digest"));
    }
    Ok(path)
}
