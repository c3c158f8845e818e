"""The gateway's side of control: leases, settlements, the policy snapshot. protobuf stops here."""
