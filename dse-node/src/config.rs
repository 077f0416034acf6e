//! The configuration file: the flags under their own names, and lists of sources and
//! sinks.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error as TomlError};

use crate::options::Options;
use crate::sinks::SinkConfig;
use crate::sources::SourceConfig;

/// Names that are at least this alike are offered as what was meant.
const ALIKE: f64 = 0.75;

/// All that a configuration file says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What could be said by flags, too.
    pub options: Options,
    /// What the node publishes.
    pub sources: Vec<SourceConfig>,
    /// Where the node puts what it subscribes to.
    pub sinks: Vec<SinkConfig>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file, the line, what is wrong there and what would be right.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: path.to_owned(),
            line: None,
            what: format!("cannot read this configuration file: {error}"),
        })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::from_text(text).map_err(|fault| ConfigError {
            file: path.to_owned(),
            line: fault.span.map(|span| line_of(text, &span)),
            what: fault.what,
        })
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        let mut document = DeTable::parse(text)?;
        let sources = take_list(document.get_mut(), "source")?;
        let sinks = take_list(document.get_mut(), "sink")?;
        Ok(Self {
            options: read_options(document)?,
            sources: sources.into_iter().map(read_source).collect::<Result<_, _>>()?,
            sinks: sinks.into_iter().map(read_sink).collect::<Result<_, _>>()?,
        })
    }
}

/// What is wrong with a configuration file.
#[derive(Debug)]
pub struct ConfigError {
    file: PathBuf,
    line: Option<usize>,
    what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.what)
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong, and where in the text.
struct Fault {
    span: Option<Range<usize>>,
    what: String,
}

impl From<TomlError> for Fault {
    fn from(error: TomlError) -> Self {
        Self { span: error.span(), what: in_words(error.message()) }
    }
}

type Table<'a> = Spanned<DeTable<'a>>;

fn take_list<'a>(document: &mut DeTable<'a>, name: &str) -> Result<Vec<Table<'a>>, Fault> {
    let Some(value) = document.remove(name) else { return Ok(Vec::new()) };
    let wrong = |span| Fault {
        span: Some(span),
        what: format!("`{name}` is a list of tables; begin each with a line [[{name}]]"),
    };
    let span = value.span();
    let DeValue::Array(items) = value.into_inner() else { return Err(wrong(span)) };
    let tables = items.into_iter().map(|item| match (item.span(), item.into_inner()) {
        (span, DeValue::Table(table)) => Ok(Spanned::new(span, table)),
        (span, _) => Err(wrong(span)),
    });
    tables.collect()
}

fn read_options(document: Table<'_>) -> Result<Options, Fault> {
    Options::deserialize(Deserializer::from(document)).map_err(|error| {
        let mut message = error.message().to_owned();
        if message.starts_with("unknown field") {
            // The lists were taken out before.
            message.push_str(", `[[source]]`, `[[sink]]`");
        }
        Fault { span: error.span(), what: in_words(&message) }
    })
}

fn read_source(mut table: Table<'_>) -> Result<SourceConfig, Fault> {
    let (span, kind) = take_kind(&mut table)?;
    match kind.as_str() {
        "value" => Ok(SourceConfig::Value(read(table)?)),
        "system" => Ok(SourceConfig::System(read(table)?)),
        "file" => Ok(SourceConfig::File(read(table)?)),
        _ => Err(unknown_kind("source", &kind, span, &["value", "system", "file"])),
    }
}

fn read_sink(mut table: Table<'_>) -> Result<SinkConfig, Fault> {
    let (span, kind) = take_kind(&mut table)?;
    match kind.as_str() {
        "stdout" => Ok(SinkConfig::Stdout(read(table)?)),
        "jsonl" => Ok(SinkConfig::Jsonl(read(table)?)),
        _ => Err(unknown_kind("sink", &kind, span, &["stdout", "jsonl"])),
    }
}

fn read<'a, T: Deserialize<'a>>(table: Table<'a>) -> Result<T, Fault> {
    let whole = table.span();
    T::deserialize(Deserializer::from(table)).map_err(|error| {
        let mut fault = Fault::from(error);
        fault.span.get_or_insert(whole);
        fault
    })
}

fn take_kind(table: &mut Table<'_>) -> Result<(Range<usize>, String), Fault> {
    let whole = table.span();
    let kind = table.get_mut().remove("kind");
    let Some(kind) = kind else {
        return Err(Fault { span: Some(whole), what: "the key `kind` is missing here".into() });
    };
    let span = kind.span();
    match kind.get_ref().as_str() {
        Some(text) => Ok((span, text.to_owned())),
        None => Err(Fault { span: Some(span), what: "`kind` is a text in quotes".into() }),
    }
}

fn unknown_kind(list: &str, kind: &str, span: Range<usize>, known: &[&str]) -> Fault {
    let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    let what = format!("unknown {list} kind `{kind}`, expected one of {}", known.join(", "));
    Fault { span: Some(span), what: with_suggestion(what) }
}

/// What a parser calls things, and what a file's author does.
const WORDS: [(&str, &str); 6] = [
    ("unknown field", "unknown key"),
    ("missing field", "missing key"),
    ("unknown variant", "unknown word"),
    ("expected a string", "expected a text in quotes"),
    ("expected a sequence", "expected a list, as in [\"a\", \"b\"]"),
    ("expected u64", "expected a whole number, 0 or more"),
];

/// A parser's message for the author of a file.
fn in_words(message: &str) -> String {
    let plain = |text: String, (theirs, ours): &(&str, &str)| text.replace(theirs, ours);
    with_suggestion(WORDS.iter().fold(message.to_owned(), plain))
}

/// Adds what was probably meant, where a message lists what would be right:
/// "unknown key `lisen`, expected one of `bus`, `listen`".
fn with_suggestion(message: String) -> String {
    if !message.starts_with("unknown ") {
        return message;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let given = quoted.next().unwrap_or_default();
    let closest = quoted
        .map(|known| (strsim::jaro_winkler(given, known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match closest {
        Some((_, meant)) => format!("{message}; did you mean `{meant}`?"),
        None => message,
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (Option<usize>, String) {
        let fault = Config::from_text(text).expect_err("the text is faulty");
        (fault.span.map(|span| line_of(text, &span)), fault.what)
    }

    #[test]
    fn the_example_of_the_design_is_understood() {
        let config = Config::from_text(
            r#"
            name = "web-1"
            bus = "plant"
            listen = ["quic://0.0.0.0:7447"]
            join = ["quic://seed.example:7447"]
            detect-ms = 10000

            [[source]]
            kind = "value"
            key = "site/name"
            value = "Zurich"

            [[source]]
            kind = "system"
            key = "host/{node}"
            every = "2s"

            [[sink]]
            kind = "jsonl"
            keys = "host/**"
            path = "samples.jsonl"
            "#,
        );
        let config = config.map_err(|fault| fault.what).expect("the text is right");
        assert_eq!(config.options.join[0].as_str(), "quic://seed.example:7447");
        assert_eq!(config.options.detect_ms, Some(10_000));
        assert_eq!((config.sources.len(), config.sinks.len()), (2, 1));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_right_one() {
        let (line, what) = fault("bus = \"plant\"\nlisten-at = []\n");
        assert_eq!(line, Some(2));
        assert!(what.contains("did you mean `listen`?"), "{what}");

        let (line, what) = fault("[[sources]]\nkind = \"system\"\n");
        assert_eq!(line, Some(1));
        assert!(what.contains("did you mean `[[source]]`?"), "{what}");

        let (line, what) = fault("[[source]]\nkind = \"system\"\nkey = \"a\"\nevry = \"2s\"\n");
        assert_eq!(line, Some(4));
        assert!(what.contains("unknown key `evry`") && what.contains("`every`?"), "{what}");
    }

    #[test]
    fn what_is_missing_or_of_the_wrong_kind_is_named_with_its_line() {
        let (line, what) = fault("\n[[source]]\nkind = \"value\"\nkey = \"a\"\n");
        assert_eq!(line, Some(2), "{what}");
        assert!(what.contains("missing key `value`"), "{what}");

        let (line, what) = fault("[[source]]\nkind = \"sistem\"\n");
        assert_eq!(line, Some(2));
        assert!(what.contains("did you mean `system`?"), "{what}");

        let (line, what) = fault("\n[source]\nkind = \"system\"\n");
        assert_eq!(line, Some(2));
        assert!(what.contains("[[source]]"), "{what}");

        let (line, what) = fault("listen = \"quic://127.0.0.1:0\"\n");
        assert_eq!(line, Some(1));
        assert!(what.contains("expected a list"), "{what}");

        let (line, what) = fault("[[source]]\nkind = \"value\"\nkey = \"a\"\nvalue = [1]\n");
        assert_eq!(line, Some(4));
        assert!(what.contains("expected a text, a number"), "{what}");

        let (line, what) = fault("[[source]]\nkind = \"value\"\nkey = \"a\"\nvalue = nan\n");
        assert_eq!(line, Some(4));
        assert!(what.contains("NaN is no number that JSON knows"), "{what}");

        let (line, what) = fault("bus = \"a b\"\n");
        assert_eq!(line, Some(1));
        assert!(what.contains("use only A-Z"), "{what}");
    }
}
