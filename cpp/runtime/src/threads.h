// How many threads make sense on this machine.
#pragma once

namespace hasten {

// The processors of this process, or the quota of its control groups where that is less; at least 1.
int threads();

}  // namespace hasten
