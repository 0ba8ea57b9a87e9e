//! Vector sets (Redis 8): the contents of a payload, regardless of the order in which a server stores the elements.
//!
//! A server that loads a vector set stores it differently from the one that wrote it: the order of the elements is
//! reversed, and the links of each are sorted. What clients see is unchanged and is digested here: the settings of the
//! set, and for each element its name, attributes, quantized vector, level, and links. The layout is that of
//! `VectorSetRdbSave` in `modules/vector-sets/vset.c` and `hnsw_serialize_node` in `hnsw.c` (Redis 8.0 to 8.6); a
//! payload with another layout is opaque.

use xxhash_rust::xxh3::xxh3_128;

use super::tuple;
use crate::rdb::Piece;

/// Flag: a matrix that reduces the vectors follows.
const HAS_MATRIX: u64 = 1;
/// Flag: each element has attributes.
const HAS_ATTRIBUTES: u64 = 2;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Dimension,
    Count,
    Settings,
    Flags,
    InputDimension,
    Matrix,
    Item,
    Attributes,
    Vector,
    Parameters,
    Id,
    Level,
    Links {
        level: u64,
    },
    MostLinks {
        level: u64,
        links: u64,
    },
    Link {
        level: u64,
        left: u64,
    },
    /// Distance and index of the worst link of a level; they follow from the other links and their order.
    Worst {
        level: u64,
    },
    /// The vector's length and the range of its quantization.
    Range,
    End,
    /// The layout is unknown.
    Other,
}

/// Reads one vector set, item by item.
#[derive(Debug, Clone)]
pub(super) struct VectorSet {
    step: Step,
    /// Number of remaining elements, and of all elements.
    left: u64,
    elements: u64,
    flags: u64,
    head: u128,
    sum: u128,
    node: u128,
    /// The highest level of the current element, and the number of its remaining numbers.
    levels: u64,
    numbers: u64,
    ended: bool,
}

impl Default for VectorSet {
    fn default() -> Self {
        VectorSet {
            step: Step::Dimension,
            left: 0,
            elements: 0,
            flags: 0,
            head: 0,
            sum: 0,
            node: 0,
            levels: 0,
            numbers: 0,
            ended: false,
        }
    }
}

impl VectorSet {
    /// The next item of the value.
    pub(super) fn piece(&mut self, piece: &Piece<'_>) {
        self.step = match piece {
            Piece::End if self.step == Step::End && !self.ended => {
                self.ended = true;
                Step::End
            }
            Piece::Number(number) => self.number(*number),
            Piece::Text(bytes) => self.text(bytes),
            _ => Step::Other,
        };
    }

    /// The digest, if everything was read as expected.
    pub(super) fn digest(&self) -> Option<u128> {
        self.ended.then(|| tuple(&[self.head, self.sum, u128::from(self.elements)]))
    }

    fn number(&mut self, number: u64) -> Step {
        let in_node = matches!(
            self.step,
            Step::Id
                | Step::Level
                | Step::Links { .. }
                | Step::MostLinks { .. }
                | Step::Link { .. }
                | Step::Worst { .. }
                | Step::Range
        );
        if in_node {
            // One number less remains; the last must be the one with which the layout ends.
            let Some(left) = self.numbers.checked_sub(1) else { return Step::Other };
            self.numbers = left;
            if (left == 0) != (self.step == Step::Range) {
                return Step::Other;
            }
        }
        match self.step {
            Step::Dimension => self.settled(number, Step::Count),
            Step::Count => {
                (self.left, self.elements) = (number, number);
                Step::Settings
            }
            Step::Settings => self.settled(number, Step::Flags),
            Step::Flags => {
                self.flags = number;
                if number & !(HAS_MATRIX | HAS_ATTRIBUTES) != 0 {
                    return Step::Other;
                }
                match number & HAS_MATRIX != 0 {
                    true => Step::InputDimension,
                    false => self.next_element(),
                }
            }
            Step::InputDimension => self.settled(number, Step::Matrix),
            Step::Parameters => {
                self.numbers = number;
                Step::Id
            }
            Step::Id => self.of_node(number, Step::Level),
            Step::Level => {
                self.levels = number & 0xff;
                self.of_node(number, Step::Links { level: 0 })
            }
            Step::Links { level } => Step::MostLinks { level, links: number },
            Step::MostLinks { level, links } => {
                let next = if links > 0 { Step::Link { level, left: links } } else { Step::Worst { level } };
                self.of_node(number, next)
            }
            Step::Link { level, left } => {
                // They are unordered.
                self.sum =
                    self.sum.wrapping_add(tuple(&[self.node_id(), u128::from(level), u128::from(number)]));
                if left > 1 { Step::Link { level, left: left - 1 } } else { Step::Worst { level } }
            }
            Step::Worst { level } if level < self.levels => Step::Links { level: level + 1 },
            Step::Worst { .. } => Step::Range,
            Step::Range => {
                let digest = tuple(&[self.node, u128::from(number)]);
                self.sum = self.sum.wrapping_add(digest);
                self.next_element()
            }
            _ => Step::Other,
        }
    }

    fn text(&mut self, bytes: &[u8]) -> Step {
        match self.step {
            Step::Matrix => {
                self.head = tuple(&[self.head, xxh3_128(bytes)]);
                self.next_element()
            }
            Step::Item => {
                self.node = xxh3_128(bytes);
                if self.flags & HAS_ATTRIBUTES != 0 { Step::Attributes } else { self.attributes(b"") }
            }
            Step::Attributes => self.attributes(bytes),
            Step::Vector => {
                self.node = tuple(&[self.node, xxh3_128(bytes)]);
                Step::Parameters
            }
            _ => Step::Other,
        }
    }

    /// An element without attributes is the same whether or not others have some.
    fn attributes(&mut self, bytes: &[u8]) -> Step {
        self.node = tuple(&[self.node, xxh3_128(bytes)]);
        Step::Vector
    }

    fn next_element(&mut self) -> Step {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Step::Item
            }
            None => Step::End,
        }
    }

    fn settled(&mut self, number: u64, next: Step) -> Step {
        self.head = tuple(&[self.head, u128::from(number)]);
        next
    }

    fn of_node(&mut self, number: u64, next: Step) -> Step {
        self.node = tuple(&[self.node, u128::from(number)]);
        next
    }

    /// What distinguishes the element's links from those of others.
    fn node_id(&self) -> u128 {
        self.node
    }
}
