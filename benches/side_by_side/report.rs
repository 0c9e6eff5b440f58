//! What is printed: a Markdown table for each case.

use std::fmt;

use crate::cases::Case;

/// The result of a case.
pub struct Table {
    case: Case,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    pub fn new(case: Case, columns: &[&str]) -> Self {
        Self {
            case,
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// A sentence below the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn widths(&self) -> Vec<usize> {
        let width_of = |column: usize| {
            let lines = std::iter::once(&self.columns).chain(&self.rows);
            let widths = lines.filter_map(|cells| cells.get(column));
            widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.columns.len()).map(width_of).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}: {}\n", self.case.name(), self.case.about())?;
        let widths = self.widths();
        line(f, &self.columns, &widths)?;
        // The first column holds names, the others numbers.
        let rules = widths.iter().enumerate().map(|(column, width)| {
            let dashes = "-".repeat(width.saturating_sub(1).max(1));
            let right = if column == 0 { "-" } else { ":" };
            format!("{dashes}{right}")
        });
        line(f, &rules.collect::<Vec<_>>(), &widths)?;
        for row in &self.rows {
            line(f, row, &widths)?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        match column {
            0 => write!(f, "| {cell:<width$} ")?,
            _ => write!(f, "| {cell:>width$} ")?,
        }
    }
    writeln!(f, "|")
}

/// What was to be reached, and whether it was.
pub fn goal(text: &str, is_met: bool) -> String {
    let verdict = if is_met { "met" } else { "missed" };
    format!("{text}: {verdict}")
}
