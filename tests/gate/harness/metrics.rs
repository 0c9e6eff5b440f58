//! Metrics read as Prometheus reads them, and more strictly: whatever is not well-formed is a
//! failure of the test.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// What one scrape brought.
#[derive(Debug)]
pub struct Metrics {
    /// The kind of each family by its name.
    pub families: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    /// The family it belongs to; `name` is longer for the parts of a histogram.
    pub family: String,
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

impl Metrics {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut families = BTreeMap::new();
        let mut samples: Vec<Sample> = Vec::new();
        let mut family = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect(line);
                assert!(!words.is_empty(), "{line}");
                let kind = lines.next().and_then(|line| {
                    line.strip_prefix("# TYPE ")?
                        .strip_prefix(name)?
                        .strip_prefix(' ')
                });
                let kind = kind.unwrap_or_else(|| panic!("no TYPE after {line}"));
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
                let twice = families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} is declared twice");
                name.clone_into(&mut family);
                continue;
            }
            let kind = families.get(&family).expect("a sample before any family");
            samples.push(Sample::parse(line, &family, kind));
        }
        let metrics = Self { families, samples };
        metrics.check_samples();
        metrics.check_histograms();
        metrics
    }

    #[track_caller]
    fn check_samples(&self) {
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            let Sample { name, labels, .. } = sample;
            assert!(seen.insert((name, labels)), "twice: {sample:?}");
            assert!(is_name(name), "{name}");
            assert!(labels.keys().all(|label| is_name(label)), "{sample:?}");
            let counts = self.families[&sample.family] != "gauge";
            assert!(!counts || sample.value >= 0.0, "{sample:?}");
        }
        for family in self.families.keys() {
            let has_some = self.samples.iter().any(|sample| sample.family == *family);
            assert!(has_some, "{family} is declared and has no sample");
        }
    }

    /// Buckets in order, each holding what those before it hold, the last as many as were counted.
    #[track_caller]
    fn check_histograms(&self) {
        for count in self.samples.iter() {
            let Some(name) = count.name.strip_suffix("_count") else {
                continue;
            };
            let mut before = (f64::NEG_INFINITY, 0.0);
            for bucket in &self.samples {
                let mut labels = bucket.labels.clone();
                let Some(limit) = labels.remove("le") else {
                    continue;
                };
                if bucket.name != format!("{name}_bucket") || labels != count.labels {
                    continue;
                }
                let next = (number(&limit), bucket.value);
                assert!(next.0 > before.0 && next.1 >= before.1, "{bucket:?}");
                before = next;
            }
            assert_eq!(before, (f64::INFINITY, count.value), "{count:?}");
            let sum = self.value(&format!("{name}_sum"), &count.labels);
            assert!(sum.is_some_and(|sum| sum >= 0.0), "{name}");
        }
    }

    /// The value of the sample with exactly these labels.
    pub fn value(&self, name: &str, labels: &Labels) -> Option<f64> {
        let fits = |sample: &&Sample| sample.name == name && sample.labels == *labels;
        self.samples.iter().find(fits).map(|sample| sample.value)
    }

    /// The sum of all samples that have at least these labels; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample
                    .labels
                    .get(*label)
                    .is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        self.samples
            .iter()
            .filter(fits)
            .map(|sample| sample.value)
            .sum()
    }
}

impl Sample {
    #[track_caller]
    fn parse(line: &str, family: &str, kind: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match series.split_once('{') {
            None => (series, Labels::new()),
            Some((name, rest)) => (name, parse_labels(rest)),
        };
        let suffix = name.strip_prefix(family).expect(line);
        let expected: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(expected.contains(&suffix), "{line} is not of {family}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        Self {
            family: family.to_owned(),
            name: name.to_owned(),
            labels,
            value: number(value),
        }
    }
}

/// `a="b",c="d"}`, with nothing behind it.
#[track_caller]
fn parse_labels(mut rest: &str) -> Labels {
    let mut labels = Labels::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").expect(rest);
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next().expect("a label without an end") {
                (at, '"') => break at,
                (_, '\\') => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => value.push(c),
                    other => panic!("escape {other:?} in {quoted}"),
                },
                (_, c) => value.push(c),
            }
        };
        let twice = labels.insert(name.to_owned(), value);
        assert_eq!(twice, None, "{name} twice");
        match &quoted[end + 1..] {
            "}" => return labels,
            more => rest = more.strip_prefix(',').expect(more),
        }
    }
}

#[track_caller]
fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("no number: {text}")),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits)
}
