# What `cmake --install` lays down: libraries, header, licence, and how CMake and pkg-config find them.
# Every path in there is relative, so the tree may be moved.
include(CMakePackageConfigHelpers)

install(TARGETS knowngood knowngood_static EXPORT knowngood
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES include/knowngood.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ../../LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL) # not beside an engine copied alone

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/knowngood)
install(EXPORT knowngood NAMESPACE knowngood:: FILE knowngood-config.cmake DESTINATION ${package_dir})
write_basic_package_version_file(knowngood-config-version.cmake COMPATIBILITY ${compatibility})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/knowngood-config-version.cmake DESTINATION ${package_dir})

file(RELATIVE_PATH KG_PREFIX_FROM_PC
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/knowngood.pc.in knowngood.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/knowngood.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
