//! Patterns of the models: a matcher for the part of Java's regular expressions that they use.
//!
//! All states are followed at once, so no text makes it slow; whole texts match, as with Java's `matches`.

mod parse;
mod set;

use std::sync::OnceLock;

use parse::Node;
use set::Set;

/// A pattern, read on first use.
pub struct Pattern {
    text: &'static str,
    program: OnceLock<Program>,
}

/// A read pattern.
enum Program {
    /// One set of characters, repeated: most names are of this kind.
    Run { set: Set, min: usize },
    /// Anything else.
    Steps(Vec<Step>),
}

enum Step {
    Take(Set),
    Either(usize, usize),
    Jump(usize),
    Start,
    End,
    Ahead { steps: Vec<Step>, wanted: bool },
    Behind { set: Set, wanted: bool },
    Done,
}

impl Pattern {
    /// A pattern of a model.
    pub const fn new(text: &'static str) -> Self {
        Self { text, program: OnceLock::new() }
    }

    /// The pattern as the model spells it.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        match self.program() {
            Program::Run { set, min } => {
                text.chars().all(|letter| set.contains(letter)) && text.chars().take(*min).count() == *min
            }
            Program::Steps(steps) => run(steps, text, 0, true),
        }
    }

    fn program(&self) -> &Program {
        self.program.get_or_init(|| {
            let node = parse::parse(self.text).expect("test `every_pattern_of_the_models_is_read` reads them all");
            match node {
                Node::Repeat { node, min, max: None } if matches!(*node, Node::Set(_)) && min <= 1 => match *node {
                    Node::Set(set) => Program::Run { set, min },
                    other => Program::Steps(compiled(other)),
                },
                other => Program::Steps(compiled(other)),
            }
        })
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

fn compiled(node: Node) -> Vec<Step> {
    let mut steps = Vec::new();
    emit(&node, &mut steps);
    steps.push(Step::Done);
    steps
}

fn emit(node: &Node, steps: &mut Vec<Step>) {
    match node {
        Node::Set(set) => steps.push(Step::Take(set.clone())),
        Node::Sequence(nodes) => nodes.iter().for_each(|node| emit(node, steps)),
        Node::Choice(nodes) => choice(nodes, steps),
        Node::Repeat { node, min, max } => {
            for _ in 0..*min {
                emit(node, steps);
            }
            match max {
                None => {
                    let fork = steps.len();
                    steps.push(Step::Either(fork + 1, fork + 1));
                    emit(node, steps);
                    steps.push(Step::Jump(fork));
                    set_exit(steps, fork);
                }
                Some(max) => {
                    let mut forks = Vec::new();
                    for _ in *min..*max {
                        forks.push(steps.len());
                        steps.push(Step::Either(steps.len() + 1, steps.len() + 1));
                        emit(node, steps);
                    }
                    forks.into_iter().for_each(|fork| set_exit(steps, fork));
                }
            }
        }
        Node::Start => steps.push(Step::Start),
        Node::End => steps.push(Step::End),
        Node::Ahead { node, wanted } => {
            let mut inner = Vec::new();
            emit(node, &mut inner);
            inner.push(Step::Done);
            steps.push(Step::Ahead { steps: inner, wanted: *wanted });
        }
        Node::Behind { set, wanted } => steps.push(Step::Behind { set: set.clone(), wanted: *wanted }),
    }
}

fn choice(nodes: &[Node], steps: &mut Vec<Step>) {
    let mut ends = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let fork = steps.len();
        let last = index + 1 == nodes.len();
        if !last {
            steps.push(Step::Either(fork + 1, fork + 1));
        }
        emit(node, steps);
        if !last {
            ends.push(steps.len());
            steps.push(Step::Jump(0));
            set_exit(steps, fork);
        }
    }
    let after = steps.len();
    for end in ends {
        if let Some(step) = steps.get_mut(end) {
            *step = Step::Jump(after);
        }
    }
}

/// The second way of a fork leads behind everything emitted so far.
fn set_exit(steps: &mut [Step], fork: usize) {
    let after = steps.len();
    if let Some(Step::Either(_, exit)) = steps.get_mut(fork) {
        *exit = after;
    }
}

/// Follows all states from the byte `start`; `whole` asks for a match that ends with the text, else any prefix will do.
fn run(steps: &[Step], text: &str, start: usize, whole: bool) -> bool {
    let mut states = Vec::new();
    let mut seen = vec![false; steps.len()];
    follow(steps, text, start, 0, &mut states, &mut seen);
    let rest = text.get(start..).unwrap_or_default();
    for (at, letter) in rest.char_indices() {
        if !whole && states.iter().any(|state| matches!(steps.get(*state), Some(Step::Done))) {
            return true;
        }
        if states.is_empty() {
            return false;
        }
        let after = start + at + letter.len_utf8();
        let mut next = Vec::with_capacity(states.len());
        seen.fill(false);
        for state in &states {
            if let Some(Step::Take(set)) = steps.get(*state)
                && set.contains(letter)
            {
                follow(steps, text, after, state + 1, &mut next, &mut seen);
            }
        }
        states = next;
    }
    states.iter().any(|state| matches!(steps.get(*state), Some(Step::Done)))
}

/// Adds a state and all that are reached from it without taking a character.
fn follow(steps: &[Step], text: &str, at: usize, state: usize, states: &mut Vec<usize>, seen: &mut [bool]) {
    let mut open = vec![state];
    while let Some(state) = open.pop() {
        match seen.get_mut(state) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        let passes = match steps.get(state) {
            Some(Step::Take(_) | Step::Done) => {
                states.push(state);
                continue;
            }
            Some(Step::Either(first, second)) => {
                open.push(*second);
                open.push(*first);
                continue;
            }
            Some(Step::Jump(to)) => {
                open.push(*to);
                continue;
            }
            Some(Step::Start) => at == 0,
            Some(Step::End) => at == text.len(),
            Some(Step::Ahead { steps, wanted }) => run(steps, text, at, false) == *wanted,
            Some(Step::Behind { set, wanted }) => {
                let before = text.get(..at).and_then(|before| before.chars().next_back());
                before.is_some_and(|letter| set.contains(letter)) == *wanted
            }
            None => continue,
        };
        if passes {
            open.push(state + 1);
        }
    }
}

#[cfg(test)]
mod tests;
