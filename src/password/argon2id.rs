//! What a new argon2id hash costs whoever makes or guesses it: memory, passes, lanes, and the floor
//! below which none are made.
//!
//! Hashing itself, and the hashes that are stored already, are in `stored`.

/// The parameters of new hashes. None of these are below the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2idParameters {
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// Why parameters are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Argon2idError {
    #[error("memory must be from {}MiB to 1GiB", LEAST_MEMORY >> 10)]
    Memory,
    #[error("passes must be from 1 to {MAX_PASSES}")]
    Passes,
    #[error("lanes must be from 1 to {MAX_LANES}")]
    Lanes,
    #[error(
        "with {} this is below the floor of OWASP; take {}MiB, or more passes",
        match passes { 1 => "1 pass".into(), _ => format!("{passes} passes") },
        least >> 10
    )]
    BelowFloor {
        passes: u32,
        /// The memory that would do, in KiB.
        least: u32,
    },
}

/// The most memory of one hash, in KiB: what the program may need for each core that hashes.
pub const MAX_MEMORY: u32 = 1 << 20;
/// The most passes.
pub const MAX_PASSES: u32 = 64;
/// The most lanes.
pub const MAX_LANES: u32 = 16;

/// Memory in KiB and passes that OWASP holds to be equally strong (Password Storage Cheat Sheet): at
/// or above one of them is enough.
const FLOORS: [(u32, u32); 5] = [
    (47_104, 1),
    (19_456, 2),
    (12_288, 3),
    (9_216, 4),
    (LEAST_MEMORY, 5),
];
const LEAST_MEMORY: u32 = 7_168;

impl Default for Argon2idParameters {
    /// The floor that needs only two passes; 19 MiB also fit a small device.
    fn default() -> Self {
        Self {
            memory: 19_456,
            passes: 2,
            lanes: 1,
        }
    }
}

impl Argon2idParameters {
    /// These parameters, `memory` in KiB.
    ///
    /// # Errors
    /// What is out of bounds, or that it is too little in all.
    pub fn new(memory: u32, passes: u32, lanes: u32) -> Result<Self, Argon2idError> {
        if !(1..=MAX_PASSES).contains(&passes) {
            return Err(Argon2idError::Passes);
        }
        if !(1..=MAX_LANES).contains(&lanes) {
            return Err(Argon2idError::Lanes);
        }
        let of_passes = |(_, floor): &&(u32, u32)| passes >= *floor;
        let least = FLOORS.iter().filter(of_passes).map(|(memory, _)| *memory);
        let least = least.min().unwrap_or(MAX_MEMORY);
        match memory {
            _ if !(LEAST_MEMORY..=MAX_MEMORY).contains(&memory) => Err(Argon2idError::Memory),
            _ if memory < least => Err(Argon2idError::BelowFloor { passes, least }),
            _ => Ok(Self {
                memory,
                passes,
                lanes,
            }),
        }
    }

    /// In KiB.
    #[must_use]
    pub const fn memory(self) -> u32 {
        self.memory
    }

    /// How often the memory is gone through.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Parts of the memory that can be worked on at one time. Here one thread goes through them all.
    #[must_use]
    pub const fn lanes(self) -> u32 {
        self.lanes
    }

    /// Whether a hash of so much memory, in KiB, and so many passes costs at least as much as one of
    /// these.
    pub(super) fn is_reached_by(self, memory: u32, passes: u32) -> bool {
        let work = |memory: u32, passes: u32| u64::from(memory) * u64::from(passes);
        is_at_floor(memory, passes) && work(memory, passes) >= work(self.memory, self.passes)
    }
}

/// Whether so much memory, in KiB, and so many passes are enough.
pub(super) fn is_at_floor(memory: u32, passes: u32) -> bool {
    let reached = |(floor_memory, floor_passes): &(u32, u32)| {
        memory >= *floor_memory && passes >= *floor_passes
    };
    FLOORS.iter().any(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_at_the_floor_of_owasp_are_taken_and_those_below_are_not() {
        for (memory, passes) in FLOORS {
            assert!(Argon2idParameters::new(memory, passes, 1).is_ok());
            assert!(Argon2idParameters::new(memory, passes + 1, 4).is_ok());
            let below = Argon2idParameters::new(memory - 1, passes, 1).unwrap_err();
            let expected = Argon2idError::BelowFloor {
                passes,
                least: memory,
            };
            // With the least memory of all no number of passes would help.
            let expected = match memory {
                LEAST_MEMORY => Argon2idError::Memory,
                _ => expected,
            };
            assert_eq!(below, expected);
        }
        let default = Argon2idParameters::default();
        assert_eq!(Argon2idParameters::new(19_456, 2, 1), Ok(default));
    }

    #[test]
    fn parameters_have_an_end() {
        let refused = |memory, passes, lanes| Argon2idParameters::new(memory, passes, lanes);
        assert!(refused(MAX_MEMORY, MAX_PASSES, MAX_LANES).is_ok());
        let memory = Err(Argon2idError::Memory);
        assert_eq!(refused(MAX_MEMORY + 1, 1, 1), memory);
        assert_eq!(refused(0, 64, 1), memory);
        for passes in [0, MAX_PASSES + 1] {
            assert_eq!(refused(65_536, passes, 1), Err(Argon2idError::Passes));
        }
        for lanes in [0, MAX_LANES + 1] {
            assert_eq!(refused(65_536, 3, lanes), Err(Argon2idError::Lanes));
        }
    }
}
