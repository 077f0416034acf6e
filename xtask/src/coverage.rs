//! `cargo xtask coverage`: which lines of the core no test and no simulation runs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::shell;
use crate::table::Table;

/// What is looked at, each by itself, in the root of the workspace.
const PARTS: [&str; 3] = ["dse-core/src/protocol", "dse-core/src/data", "dse-core/src/node/plane"];

/// The least that is enough for each, in percent of lines.
const ENOUGH: f64 = 95.0;

/// Runs the tests of the core and the simulator on an instrumented build, prints what
/// part of each of the core's files they reach, and the lines that they do not. True if
/// it is enough in each part.
///
/// # Errors
/// cargo-llvm-cov is not here, a test failed, or the report cannot be read.
pub(crate) fn run() -> Result<bool> {
    if shell::output_of(&mut shell::cargo(["llvm-cov", "--version"])).is_err() {
        bail!("cargo-llvm-cov is not here; `cargo install cargo-llvm-cov --locked` to have it");
    }
    let packages = ["-p", "dse-core", "-p", "dse-sim"];
    let tests = ["llvm-cov", "--no-report", "--locked"];
    let ran = shell::run_echoed(&mut shell::cargo(tests.into_iter().chain(packages)), |_| {})?;
    ensure!(ran.success, "a test failed");
    let report = ["llvm-cov", "report", "--lcov"];
    let report = shell::output_of(&mut shell::cargo(report.into_iter().chain(packages)))?;
    let mut summary = Vec::new();
    for part in PARTS {
        println!("== {part} ==");
        let files = read(&report, &shell::root().join(part))?;
        ensure!(!files.is_empty(), "the report has no file of {part}");
        summary.push((part, print(&files)));
    }
    println!();
    for (part, percent) in &summary {
        println!("{part}: {percent:.1} % of lines, {ENOUGH} % is enough");
    }
    Ok(summary.iter().all(|(_, percent)| *percent >= ENOUGH))
}

/// How often each line of a file ran.
type Lines = BTreeMap<u32, u64>;

/// The files of a folder in a report in lcov's format.
fn read<'a>(report: &'a str, folder: &Path) -> Result<BTreeMap<&'a str, Lines>> {
    let mut files: BTreeMap<&str, Lines> = BTreeMap::new();
    let mut current = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            current = Path::new(path).strip_prefix(folder).ok().and_then(Path::to_str);
        } else if let (Some(file), Some(data)) = (current, line.strip_prefix("DA:")) {
            let mut fields = data.split(',');
            let mut field = || fields.next().and_then(|field| field.parse::<u64>().ok());
            let (number, count) = field().zip(field()).with_context(|| line.to_owned())?;
            let number = u32::try_from(number).with_context(|| line.to_owned())?;
            *files.entry(file).or_default().entry(number).or_default() += count;
        }
    }
    Ok(files)
}

/// Prints a row a file, and returns the percentage of all lines that ran.
fn print(files: &BTreeMap<&str, Lines>) -> f64 {
    let mut table = Table::new(["file", "lines", "run", "%", "not run"]);
    let (mut all, mut run) = (0, 0);
    for (file, lines) in files {
        let here = lines.values().filter(|count| **count > 0).count();
        table.row([
            (*file).to_owned(),
            lines.len().to_string(),
            here.to_string(),
            format!("{:.1}", percent(here, lines.len())),
            ranges(lines.iter().filter(|(_, count)| **count == 0).map(|(line, _)| *line)),
        ]);
        all += lines.len();
        run += here;
    }
    print!("{table}");
    percent(run, all)
}

fn percent(part: usize, whole: usize) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// Rising numbers as `3-5 9`.
fn ranges(numbers: impl Iterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |&(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_for_the_folder_only() {
        let report = "SF:/a/core/x.rs\nFN:1,f\nDA:1,2\nDA:2,0\nend_of_record\n\
                      SF:/a/other.rs\nDA:1,0\nend_of_record\n";
        let files = read(report, Path::new("/a/core")).expect("a report");
        assert_eq!(files, BTreeMap::from([("x.rs", Lines::from([(1, 2), (2, 0)]))]));
        assert!(read("SF:/a/x.rs\nDA:one,0\n", Path::new("/a")).is_err());
    }

    #[test]
    fn neighbouring_lines_make_a_range() {
        assert_eq!(ranges([3, 4, 5, 9, 11, 12].into_iter()), "3-5 9 11-12");
        assert_eq!(ranges(std::iter::empty()), "");
    }
}
