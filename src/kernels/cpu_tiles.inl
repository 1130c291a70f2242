// SPDX-License-Identifier: Apache-2.0
// Products of bfloat16 in tiles (Intel AMX): a tile has 16 rows of 64 bytes. Written as assembly, because GCC 12's intrinsics
// do not say which memory they read. Tiles 0 to 3 are sums in float32, two by two; 4 and 5 are rows of the left side, 6 and 7
// pairs of rows of the right side. Included after cpu_lanes.inl.

constexpr int64_t tile_rows = 16, tile_words = 32, tile_bytes = 1024;

// A thread's tiles while this lives.
class Tiles {
 public:
  Tiles() {
    struct {
      uint8_t palette = 1, start = 0, unused[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int t = 0; t < 8; ++t) config.row_bytes[t] = 64, config.rows[t] = tile_rows;
    static_assert(sizeof config == 64);
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  ~Tiles() { __asm__ volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

template <int tile>
BRAID_INLINE void load_tile(const void* from, int64_t row_bytes) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row_bytes), "i"(tile) : "memory");
}
template <int tile>
BRAID_INLINE void store_tile(void* to, int64_t row_bytes) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row_bytes), "i"(tile) : "memory");
}
template <int tile>
BRAID_INLINE void clear_tile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(tile));
}
template <int sum, int left, int right>
BRAID_INLINE void multiply_tiles() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(left), "i"(right));
}

BRAID_INLINE void clear_sums() {
  clear_tile<0>(), clear_tile<1>(), clear_tile<2>(), clear_tile<3>();
}
// Sums of 32 rows and 32 columns += left [32, 32] right [32, 32]; the right side two tiles, `next` bytes apart.
BRAID_INLINE void add_tiles(const Bf16* left, int64_t left_row, const Bf16* right, int64_t next) {
  load_tile<4>(left, 2 * left_row);
  load_tile<6>(right, 64);
  load_tile<7>(reinterpret_cast<const char*>(right) + next, 64);
  load_tile<5>(left + tile_rows * left_row, 2 * left_row);
  multiply_tiles<0, 4, 6>();
  multiply_tiles<1, 4, 7>();
  multiply_tiles<2, 5, 6>();
  multiply_tiles<3, 5, 7>();
}
BRAID_INLINE void store_sums(float* to, int64_t row) {
  store_tile<0>(to, 4 * row);
  store_tile<1>(to + tile_rows, 4 * row);
  store_tile<2>(to + tile_rows * row, 4 * row);
  store_tile<3>(to + tile_rows * row + tile_rows, 4 * row);
}
