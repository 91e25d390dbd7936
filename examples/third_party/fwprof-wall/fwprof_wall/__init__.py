"""The meter at the wall, for fwprof; `fwprof_wall.plugin` holds its hook."""
