// An engine that computes nothing: what the runner itself costs, and a stand-in for sanitizers.
#pragma once
#include "../engine.h"

namespace hasten {

// In the place of `other`: same name, same settings. Each output holds the bytes of the input at its place, or of the last
// one, over and over, a sample's own in its own row; free axes beside the batch are 1.
Engine null_engine(const Engine& other);

}  // namespace hasten
