// SPDX-License-Identifier: Apache-2.0
// The translation unit whose compile flags the shared precompiled header takes on.
