//! The colour of buttons and links, made readable whatever was chosen.
//!
//! People choose the colour of their company; whether it can be read on white, on the dark of the
//! night, and with a word on it, is found out here (WCAG 2.2, 1.4.3: a contrast of 4.5 to 1). What
//! has a word on it only has to stand out, and stays as chosen wherever it can.

/// A colour, as `#rrggbb` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accent([u8; 3]);

/// What pages are painted on, by day and by night.
const LIGHT_PAPER: Accent = Accent([0xff, 0xff, 0xff]);
const DARK_PAPER: Accent = Accent([0x1b, 0x21, 0x2b]);

const WHITE: Accent = Accent([0xff, 0xff, 0xff]);
const BLACK: Accent = Accent([0, 0, 0]);

/// What can be read by those who see worst without help.
const READABLE: f64 = 4.5;

/// What tells a button from the paper, by the word on it too.
const APART: f64 = 1.3;

impl Accent {
    /// Reads `#rrggbb` or `#rgb`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        let digits: Option<Vec<u8>> = digits
            .chars()
            .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
            .collect();
        match digits?[..] {
            [r, g, b] => Some(Self([r * 17, g * 17, b * 17])),
            [r, r2, g, g2, b, b2] => Some(Self([r * 16 + r2, g * 16 + g2, b * 16 + b2])),
            _ => None,
        }
    }

    /// The rules that put it in place of the usual colour.
    #[must_use]
    pub(super) fn style(self) -> String {
        format!(
            ":root{{{}}}@media(prefers-color-scheme:dark){{:root{{{}}}}}",
            self.variables(LIGHT_PAPER),
            self.variables(DARK_PAPER)
        )
    }

    fn variables(self, paper: Self) -> String {
        let (ink, button) = (self.on(paper, READABLE), self.on(paper, APART));
        let word = button.word();
        format!(
            "--accent:{};--button:{};--on-button:{}",
            ink.text(),
            button.text(),
            word.text()
        )
    }

    /// What can be read on it best.
    fn word(self) -> Self {
        match self.contrast(WHITE) >= self.contrast(BLACK) {
            true => WHITE,
            false => BLACK,
        }
    }

    fn text(self) -> String {
        let [r, g, b] = self.0;
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    /// The same colour, as much darker or lighter as it takes to have this contrast.
    fn on(self, paper: Self, contrast: f64) -> Self {
        let towards = match paper.contrast(WHITE) > paper.contrast(BLACK) {
            true => WHITE,
            false => BLACK,
        };
        let steps = (0..=20).map(|step| self.mixed_with(towards, f64::from(step) / 20.0));
        let mut enough = steps.filter(|it| it.contrast(paper) >= contrast);
        enough.next().unwrap_or(towards)
    }

    fn mixed_with(self, other: Self, share: f64) -> Self {
        let mix = |at: usize| {
            let (own, others) = (f64::from(self.0[at]), f64::from(other.0[at]));
            (own + (others - own) * share).round().clamp(0.0, 255.0) as u8
        };
        Self([mix(0), mix(1), mix(2)])
    }

    /// From 1, the same, to 21, black on white.
    fn contrast(self, other: Self) -> f64 {
        let (own, others) = (self.luminance(), other.luminance());
        (own.max(others) + 0.05) / (own.min(others) + 0.05)
    }

    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let channel = f64::from(channel) / 255.0;
            match channel <= 0.04045 {
                true => channel / 12.92,
                false => ((channel + 0.055) / 1.055).powf(2.4),
            }
        };
        let [r, g, b] = self.0.map(linear);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_read_in_its_two_forms_and_no_other() {
        assert_eq!(Accent::parse("#0a7C3e"), Some(Accent([0x0a, 0x7c, 0x3e])));
        assert_eq!(Accent::parse("#fa0"), Some(Accent([0xff, 0xaa, 0])));
        for bad in [
            "",
            "#",
            "0a7c3e",
            "#0a7c3",
            "#0a7c3g",
            "red",
            "#0a7c3e;}",
            "#ä00",
        ] {
            assert_eq!(Accent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_colour_can_be_read_on_both_papers_and_every_button_has_its_word() {
        for r in (0..=255).step_by(51) {
            for g in (0..=255).step_by(51) {
                for b in (0..=255).step_by(51) {
                    for paper in [LIGHT_PAPER, DARK_PAPER] {
                        let shown = Accent([r, g, b]).on(paper, READABLE);
                        assert!(shown.contrast(paper) >= READABLE, "{shown:?} {paper:?}");
                        let button = Accent([r, g, b]).on(paper, APART);
                        assert!(button.contrast(paper) >= APART, "{button:?} {paper:?}");
                        assert!(button.contrast(button.word()) >= READABLE, "{button:?}");
                    }
                }
            }
        }
        // What can be read already stays as it was chosen.
        let green = Accent([0x0a, 0x7c, 0x3e]);
        assert_eq!(green.on(LIGHT_PAPER, READABLE), green);
        let yellow = Accent([0xff, 0xd4, 0]);
        assert_ne!(yellow.on(LIGHT_PAPER, READABLE), yellow);
        assert_eq!(yellow.on(LIGHT_PAPER, APART), yellow);
    }
}
