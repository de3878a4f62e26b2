// Minimum cut between source and sink on a graph in which every node has four neighbours.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

// neighbours: n x 4, -1 none; symmetric. capacities: n x 4, of the edge to that neighbour, >= 0.
// terminals: n, capacity from the source minus capacity to the sink. On return side[i] is 1 for nodes that the source
// still reaches. Returns the flow beyond min(source, sink) of each node. Throws std::invalid_argument.
int64_t min_cut(const int32_t* neighbours, const int32_t* capacities, const int32_t* terminals, int64_t n,
                std::vector<uint8_t>& side);

}  // namespace rilievo
