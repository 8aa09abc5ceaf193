//! Memory on kernels that do not do what they are asked for: a system call filter plays the kernel, on a thread
//! of its own.

use std::collections::BTreeMap;
use std::thread;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use shmipc_core::error::OsError;
use shmipc_core::mem::{CreateError, Memory, MemoryMut, adopt, create};

/// No multiple of the page, as what both sides agree on is none where pages have 16 or 64 KiB.
const SIZE: usize = 200_704 + 64;

/// Runs `action` on a thread for which the kernel answers `errno` to `madvise(MADV_POPULATE_WRITE)`, and to
/// `also` if it is given, without doing anything. 0 is success.
fn with_answer(errno: u32, also: Option<(i64, u32)>, action: fn()) {
    let advice = libc::MADV_POPULATE_WRITE as u64;
    let populates =
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, advice).unwrap();
    let madvise = (libc::SYS_madvise, vec![SeccompRule::new(vec![populates]).unwrap()]);
    let filters = [Some((madvise, errno)), also.map(|(call, errno)| ((call, vec![]), errno))];
    let filters = filters.into_iter().flatten().map(|((call, rules), errno)| {
        let (allow, answer) = (SeccompAction::Allow, SeccompAction::Errno(errno));
        let rules = BTreeMap::from([(call, rules)]);
        let filter =
            SeccompFilter::new(rules, allow, answer, std::env::consts::ARCH.try_into().unwrap());
        BpfProgram::try_from(filter.unwrap()).unwrap()
    });
    let filters: Vec<_> = filters.collect();
    let checked = thread::spawn(move || {
        for filter in &filters {
            if let Err(error) = apply_filter(filter) {
                eprintln!("skipped: system call filters cannot be set here: {error}");
                return;
            }
        }
        action();
    });
    checked.join().unwrap();
}

fn memory_is_present() {
    let (own, file) = create(c"shmipc-test", SIZE).unwrap();
    let peer = adopt(file.into(), SIZE, &[]).unwrap();
    own.store64(SIZE - 8, 7);
    assert_eq!(peer.load64(SIZE - 8), 7);
    assert_eq!(peer.load64(0), 0, "new memory is zero");
}

#[test]
fn memory_is_present_when_the_kernel_populates_it() {
    memory_is_present();
}

#[test]
fn memory_is_present_when_the_kernel_grants_the_advice_and_does_nothing() {
    with_answer(0, None, memory_is_present);
}

#[test]
fn memory_is_present_when_the_kernel_does_not_know_the_advice() {
    with_answer(libc::EINVAL as u32, None, memory_is_present);
}

#[test]
fn create_names_the_call_when_the_kernel_has_no_page() {
    let no_page = (libc::SYS_fallocate, libc::ENOSPC as u32);
    with_answer(0, Some(no_page), || {
        let error = OsError { call: "fallocate", code: libc::ENOSPC };
        assert_eq!(create(c"shmipc-test", SIZE).unwrap_err(), CreateError::Os(error));
    });
    with_answer(libc::EFAULT as u32, None, || {
        let error = OsError { call: "madvise(MADV_POPULATE_WRITE)", code: libc::ENOMEM };
        assert_eq!(create(c"shmipc-test", SIZE).unwrap_err(), CreateError::Os(error));
    });
}
