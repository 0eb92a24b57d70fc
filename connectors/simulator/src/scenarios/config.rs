//! What has to be declared to the detector before it can tell some of the plants. All of it stands here.

/// Who may cross a boundary.
pub(super) const BOUNDARIES: &str = "\
boundaries:
  - name: ledger
    destination: catchment.dev/boundary == 'ledger'
    accounts: [tellers/teller]
";

/// From where isolated namespaces may be reached.
pub(super) const ISOLATED_NAMESPACES: &str = "\
isolated_namespaces:
  - namespace: isolated-*
    from: [tellers]
";

/// Who backends run as.
pub(super) const EXPECTED_ACCOUNTS: &str = "\
expected_accounts:
  - destination: catchment.dev/identity == 'vault'
    accounts: [vaults/vault]
";
