//! The page about features says what the code does.

use e4_cli::verbs::features::table;

#[test]
fn the_page_is_what_the_verb_prints() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/features.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page == table(),
        "docs/features.md is stale: cargo run -p e4-cli -- features > docs/features.md"
    );
}

/// Of each kind of support there is an example, so that a list that is not asked is noticed.
#[test]
fn the_table_tells_apart() {
    let table = table();
    for line in [
        "| `extent` | incompatible | read and written |",
        "| `encrypt` | incompatible | refused |",
        "| `verity` | read-only-compatible | read only |",
        "| `dir_index` | compatible | read and written |",
    ] {
        assert!(table.contains(line), "{line}");
    }
}
