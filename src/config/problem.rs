//! What is wrong with a configuration, in words for the person who wrote it.

use std::fmt;
use std::path::PathBuf;

use super::locate::Position;

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// The place; absent when the file as a whole could not be read.
    pub position: Option<Position>,
    /// The key, as `routes[2].upstream`; empty when it concerns the whole file.
    pub path: String,
    /// What is wrong, and where possible what to write instead. Never a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with a configuration; at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems of each file, in the order of the files, sorted within each by position.
    /// `None` when there are none.
    #[must_use]
    pub fn of_files(files: impl IntoIterator<Item = Vec<Problem>>) -> Option<Self> {
        let all: Vec<Problem> = files.into_iter().flat_map(by_position).collect();
        (!all.is_empty()).then_some(Self(all))
    }

    /// The problems in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.0.iter()
    }
}

/// Sorts the problems of one file. Two at one position keep their order; one found twice (a value
/// that an alias repeats) is kept once.
#[must_use]
pub fn by_position(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.position);
    problems.dedup();
    problems
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The one of `candidates` that somebody who wrote `written` most likely meant.
#[must_use]
pub fn closest<'c>(
    written: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let wanted = written.to_lowercase();
    // A third of the letters may be wrong: enough for slips, too little for another word.
    let most = match wanted.chars().count() {
        0 => return None,
        letters => (letters / 3).clamp(1, 3),
    };
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&wanted, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize, message: &str) -> Problem {
        Problem {
            file: "portcullis.yaml".into(),
            position: Some(Position { line, column: 5 }),
            path: "routes[2].upstream".into(),
            message: message.into(),
        }
    }

    #[test]
    fn a_problem_is_one_line_that_editors_can_follow() {
        let found = problem(12, "no upstream is named \"devcie\"");
        assert_eq!(
            found.to_string(),
            "portcullis.yaml:12:5: routes[2].upstream: no upstream is named \"devcie\""
        );
        let whole = Problem {
            position: None,
            path: String::new(),
            ..problem(0, "cannot be read")
        };
        assert_eq!(whole.to_string(), "portcullis.yaml: cannot be read");
    }

    #[test]
    fn problems_are_sorted_by_place_within_their_file() {
        let files = [
            vec![problem(9, "b"), problem(2, "a"), problem(2, "a")],
            vec![problem(1, "c")],
        ];
        let all = Problems::of_files(files).unwrap().to_string();
        let messages: Vec<_> = all
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect();
        assert_eq!(messages, ["a", "b", "c"]);
        assert_eq!(Problems::of_files([vec![], vec![]]), None);
    }

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["upstream", "match", "can", "methods"];
        for (written, expected) in [
            ("upsteam", Some("upstream")),
            ("Match", Some("match")),
            ("cna", Some("can")),
            ("method", Some("methods")),
            ("colour", None),
            ("map", None),
            ("", None),
        ] {
            assert_eq!(closest(written, keys), expected, "{written}");
        }
        assert_eq!(closest("devcie", ["device"]), Some("device"));
    }
}
