"""The studio from a checkout; see insta_colorization/studio/serve.py."""

import sys

from insta_colorization.studio.serve import main

if __name__ == '__main__':
    sys.exit(main())
