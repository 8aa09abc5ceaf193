//! The documents name tests that exist: each promise of README, guide and security.md has one, and attacks in quotes are
//! on the list.

use std::fs;
use std::path::{Path, PathBuf};

use tests::hostile::attacks;

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "docs/guide.md",
    "docs/security.md",
    "docs/testing.md",
    "docs/decisions.md",
    "docs/prefork.md",
    "docs/results.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// What stands between backticks, fenced blocks left out.
fn code(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

/// The file, and the test in it, that a piece of code names, if it names a file of this repository.
fn named(code: &str) -> Option<(&str, Option<&str>)> {
    let (path, test) = match code.split_once("::") {
        Some((path, test)) => (path, Some(test)),
        None => (code, None),
    };
    let crates = ["shmipc-", "tests/", "benches/", "examples/", "docs/"];
    let is_path = crates.iter().any(|start| path.starts_with(start)) && path.contains('/');
    (is_path && !path.contains([' ', '{', '*', '…'])).then_some((path, test))
}

/// What is wrong with the names of files and tests in a text.
fn wrong(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, test) in code(text).into_iter().filter_map(named) {
        let file = root().join(path);
        if !file.exists() {
            wrong.push(format!("there is no {path}"));
        } else if let Some(test) = test {
            let contents = fs::read_to_string(&file).unwrap_or_default();
            let is_word = |at: usize| {
                let word = |byte: Option<&u8>| {
                    byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
                };
                let bytes = contents.as_bytes();
                !word(at.checked_sub(1).and_then(|before| bytes.get(before)))
                    && !word(bytes.get(at + test.len()))
            };
            if !contents.match_indices(test).any(|(at, _)| is_word(at)) {
                wrong.push(format!("{path} has no {test}"));
            }
        }
    }
    wrong
}

/// The rows of all tables of a text, each without its heading and the line below that.
fn rows(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_rule = |line: Option<&&str>| line.is_some_and(|line| line.starts_with("|---"));
        if line.starts_with('|') && !is_rule(Some(line)) && !is_rule(lines.get(at + 1)) {
            rows.push(*line);
        }
    }
    rows
}

#[test]
fn files_and_tests_that_documents_name_exist() {
    let wrong: Vec<_> = DOCUMENTS
        .into_iter()
        .flat_map(|document| {
            let wrong = wrong(&read(document));
            wrong.into_iter().map(move |wrong| format!("{document}: {wrong}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_test_that_is_missing_is_found() {
    assert_eq!(wrong("`tests/tests/documents.rs::a_test_that_is_missing_is_found`"), [""; 0]);
    // Put together, since this file is looked at as well.
    let missing = ["`tests/tests/documents.rs::", "a_test_that_nobody_", "has_written`"].concat();
    assert_eq!(wrong(&missing).len(), 1);
    assert_eq!(wrong("`tests/tests/no_such_file.rs`").len(), 1);
}

#[test]
fn each_row_of_security_names_a_test_or_an_attack() {
    let text = read("docs/security.md");
    for row in rows(&text) {
        let shown = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        let has_file = code(row).into_iter().any(|code| named(code).is_some());
        let has_attack = shown.split('"').skip(1).step_by(2).any(is_attack);
        assert!(has_file || has_attack || shown.trim() == "the types", "no test: {row}");
    }
}

/// Whether this is the name of an attack; of long lists the documents shorten some, with dots.
fn is_attack(name: &str) -> bool {
    attacks::all().any(|attack| attack.name == name)
}

#[test]
fn attacks_that_security_names_exist() {
    let text = read("docs/security.md");
    let (_, table) = text.split_once("| a hostile peer tries |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    for row in rows(table) {
        for name in row.split('"').skip(1).step_by(2).filter(|name| !name.contains('…')) {
            assert!(is_attack(name), "no attack is called {name}");
        }
    }
}

#[test]
fn each_promise_of_the_readme_has_a_test() {
    let (readme, tests) = (read("README.md"), read("docs/testing.md"));
    let (_, promises) = readme.split_once("## What it does").unwrap();
    let (promises, _) = promises.split_once("\n## ").unwrap();
    let promises: Vec<&str> = promises.split("**").skip(1).step_by(2).collect();
    assert!(promises.len() > 5);
    for promise in promises {
        let row = rows(&tests).into_iter().find(|row| row.contains(promise));
        let row = row.unwrap_or_else(|| panic!("no row for `{promise}`"));
        assert!(code(row).into_iter().any(|code| named(code).is_some()), "no test: {row}");
    }
}
