//! Visits every reachable state of a model, breadth first.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hasher};

/// Something that moves in steps. Steps of one state are told apart by a small number.
pub(crate) trait Model {
    type State: Clone;
    type Violation: Debug;

    fn initial(&self) -> Self::State;
    /// All steps that are possible in `state`.
    fn steps(&self, state: &Self::State, found: &mut Vec<(u8, Self::State)>);
    /// What is wrong with `state`, given its possible steps.
    fn judge(&self, state: &Self::State, steps: &[(u8, Self::State)]) -> Option<Self::Violation>;
    /// A hash that tells states apart.
    fn hash(&self, state: &Self::State) -> u128;
    /// Words for a step that is possible in `state`, for traces.
    fn describe(&self, state: &Self::State, step: u8) -> String;
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Outcome<V> {
    /// All states were visited, nothing is wrong and no path is endless.
    Holds { states: usize },
    /// A shortest path to a state with something wrong.
    Broken { violation: V, trace: Vec<String> },
    /// All states were visited, and some are on or behind a cycle.
    Endless { states: usize, cyclic: usize },
}

#[derive(Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u128");
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// How a state was reached first.
#[derive(Clone, Copy)]
struct Origin {
    parent: u32,
    step: u8,
}

pub(crate) fn explore<M: Model>(model: &M) -> Outcome<M::Violation> {
    let mut numbers: HashMap<u128, u32, BuildHasherDefault<Unhashed>> = HashMap::default();
    let mut origins = vec![Origin { parent: 0, step: 0 }];
    // Edges, flat: those of state n end at ends[n].
    let (mut edges, mut ends) = (Vec::<u32>::new(), Vec::<usize>::new());
    let mut queue = VecDeque::from([model.initial()]);
    numbers.insert(model.hash(&queue[0]), 0);
    let mut steps = Vec::new();

    while let Some(state) = queue.pop_front() {
        let number = ends.len() as u32;
        steps.clear();
        model.steps(&state, &mut steps);
        if let Some(violation) = model.judge(&state, &steps) {
            let trace = retrace(model, &origins, number);
            return Outcome::Broken { violation, trace };
        }
        for (step, next) in steps.drain(..) {
            let fresh = origins.len() as u32;
            let target = *numbers.entry(model.hash(&next)).or_insert(fresh);
            if target == fresh {
                origins.push(Origin { parent: number, step });
                queue.push_back(next);
            }
            edges.push(target);
        }
        ends.push(edges.len());
    }

    let states = origins.len();
    match cyclic(&edges, &ends) {
        0 => Outcome::Holds { states },
        cyclic => Outcome::Endless { states, cyclic },
    }
}

fn retrace<M: Model>(model: &M, origins: &[Origin], mut number: u32) -> Vec<String> {
    let mut path = Vec::new();
    while number != 0 {
        let origin = origins[number as usize];
        path.push(origin.step);
        number = origin.parent;
    }
    let mut state = model.initial();
    let mut trace = Vec::new();
    for step in path.into_iter().rev() {
        trace.push(model.describe(&state, step));
        let mut steps = Vec::new();
        model.steps(&state, &mut steps);
        let next = steps.into_iter().find(|(number, _)| *number == step);
        state = next.expect("steps are deterministic").1;
    }
    trace
}

/// States that remain when, again and again, those without predecessors are taken away.
fn cyclic(edges: &[u32], ends: &[usize]) -> usize {
    let targets = |n: usize| &edges[if n == 0 { 0 } else { ends[n - 1] }..ends[n]];
    let mut predecessors = vec![0u32; ends.len()];
    for target in edges {
        predecessors[*target as usize] += 1;
    }
    let mut free: Vec<usize> = (0..ends.len()).filter(|n| predecessors[*n] == 0).collect();
    let mut remaining = ends.len();
    while let Some(n) = free.pop() {
        remaining -= 1;
        for target in targets(n) {
            predecessors[*target as usize] -= 1;
            if predecessors[*target as usize] == 0 {
                free.push(*target as usize);
            }
        }
    }
    remaining
}
